package cli

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/format/safetensors"
	"github.com/tenon-ml/tenon/tensor"
)

const testdata = "../../testdata"

func inspectJSON(t *testing.T, path string) inspection {
	t.Helper()
	r := tenonCmd(t, "inspect", path, "--json")
	if r.code != exitDone || r.err != "" {
		t.Fatalf("%+v", r)
	}
	if strings.Count(r.stdout, "\n") != 1 {
		t.Errorf("stdout has %d lines, want 1", strings.Count(r.stdout, "\n"))
	}
	var i inspection
	if err := json.Unmarshal([]byte(r.stdout), &i); err != nil {
		t.Fatal(err)
	}
	return i
}

func TestInspectModels(t *testing.T) {
	for _, c := range []struct {
		path, kind, format string
		tensors            int
		parameters         int64
		dtype              string
	}{
		// 3 layers of 48 with 6 heads of 8 (2 for keys), MLP of 56, 96 tokens, tied.
		{"llama/gqa-tied", "model", "safetensors", 29, 96*48 + 48 + 3*(2*48*48+2*48*16+3*48*56+2*48), "F32"},
		{"llama/bf16", "model", "safetensors", 0, 0, "BF16"},
		{"llama/sharded", "model", "safetensors", 21, 23200, "F32"},
		{"llama/sharded/model.safetensors.index.json", "tensors", "safetensors", 21, 23200, "F32"},
		// The head that is stored beside the tied embeddings is not counted twice.
		{"llama/tied-with-head", "model", "safetensors", 21, 22176, "F32"},
		{"llama/gqa-tied/model.safetensors", "tensors", "safetensors", 29, 47568, "F32"},
		// The scales belong to their weights.
		{"bnb/nf4-double", "model", "safetensors", 21, 86336, "NF4"},
		{"bnb/int8", "model", "safetensors", 21, 86336, "I8"},
		{"llama/gguf/chat.Q8_0.gguf", "model", "gguf", 0, 0, "Q8_0"},
	} {
		i := inspectJSON(t, filepath.Join(testdata, c.path))
		if i.Kind != c.kind || i.Format != c.format || i.DTypes[c.dtype] == 0 || i.Bytes == 0 {
			t.Errorf("%s: %s, %s, %v, %d bytes", c.path, i.Kind, i.Format, i.DTypes, i.Bytes)
		}
		if c.tensors > 0 && (len(i.Tensors) != c.tensors || i.Parameters != c.parameters) {
			t.Errorf("%s: %d tensors, %d parameters; want %d, %d", c.path, len(i.Tensors), i.Parameters, c.tensors, c.parameters)
		}
		if m := i.Memory; (m != nil) != (c.kind == "model") || m != nil && (m.F32 != 4*i.Parameters || (m.Stored < m.F32) != (c.dtype != "F32" && c.dtype != "I8")) {
			t.Errorf("%s: memory %+v", c.path, m)
		}
		if i.Trainable != i.Parameters || i.Share == nil || *i.Share != 1 {
			t.Errorf("%s: trainable %d, share %v", c.path, i.Trainable, i.Share)
		}
	}
	// Buffers of old checkpoints are no parameters.
	with, without := inspectJSON(t, testdata+"/llama/old-inv-freq"), int64(0)
	for _, x := range with.Tensors {
		if !strings.HasSuffix(x.Name, "inv_freq") {
			without += x.Parameters
		} else if x.Parameters != 0 {
			t.Errorf("%s: %d parameters, want 0", x.Name, x.Parameters)
		}
	}
	if with.Parameters != without {
		t.Errorf("%d parameters, want %d", with.Parameters, without)
	}
}

func TestInspectAdapter(t *testing.T) {
	i := inspectJSON(t, testdata+"/lora/default/adapter")
	if i.Kind != "adapter" || i.Config["peft_type"] != "LORA" || i.Trainable == 0 || i.Trainable != i.Parameters {
		t.Errorf("%+v", i)
	}

	// The base is found from the adapter's folder too.
	dir := t.TempDir()
	plant(t, dir, map[string]string{
		"adapter/adapter_config.json": `{"peft_type": "LORA", "r": 2, "base_model_name_or_path": "../base"}`,
		"base/config.json":            `{}`,
	})
	save := func(path string, shapes map[string][]int) {
		t.Helper()
		var e []safetensors.Entry
		for name, shape := range shapes {
			e = append(e, safetensors.FromFloats(name, tensor.F32, shape, make([]float32, shape[0]*shape[1])))
		}
		if err := safetensors.Write(filepath.Join(dir, path), e, nil); err != nil {
			t.Fatal(err)
		}
	}
	save("adapter/adapter_model.safetensors", map[string][]int{"a.lora_A.weight": {2, 3}, "a.lora_B.weight": {4, 2}})
	save("base/model.safetensors", map[string][]int{"a.weight": {4, 3}})
	i = inspectJSON(t, filepath.Join(dir, "adapter"))
	if i.Share == nil || math.Abs(*i.Share-14.0/26) > 1e-15 || i.Base == nil || i.Base.Parameters == nil || *i.Base.Parameters != 12 {
		t.Errorf("%+v", i)
	}
	if r := tenonCmd(t, "inspect", filepath.Join(dir, "adapter")); !strings.Contains(r.stdout, "trainable: 14 of 26 with the base, 53.8462 %\n") {
		t.Errorf("%+v", r)
	}

	if err := os.RemoveAll(filepath.Join(dir, "base")); err != nil {
		t.Fatal(err)
	}
	i = inspectJSON(t, filepath.Join(dir, "adapter"))
	if i.Share != nil || i.Base == nil || i.Base.Parameters != nil {
		t.Errorf("%+v", i)
	}
	if r := tenonCmd(t, "inspect", filepath.Join(dir, "adapter")); !strings.Contains(r.stdout, `trainable: 14; the base "../base" is not here`) {
		t.Errorf("%+v", r)
	}
}

func TestInspectText(t *testing.T) {
	r := tenonCmd(t, "inspect", testdata+"/llama/gqa-tied")
	for _, want := range []string{
		"hidden_size", "model.layers.2.mlp.down_proj.weight", "[48 56]", "29 tensors, 47568 parameters", "trainable: 47568 by full fine-tuning",
	} {
		if !strings.Contains(r.stdout, want) {
			t.Errorf("%q is not in %s", want, r.stdout)
		}
	}
}

func TestInspectErrors(t *testing.T) {
	dir := t.TempDir()
	good, err := os.ReadFile(testdata + "/llama/gqa-tied/model.safetensors")
	if err != nil {
		t.Fatal(err)
	}
	plant(t, dir, map[string]string{
		"cut.safetensors":             string(good[:len(good)-1]),
		"cut.gguf":                    "GGUF\x03\x00\x00\x00",
		"empty/x":                     "",
		"bad/config.json":             "{",
		"bad/model.safetensors":       string(good),
		"adapter/adapter_config.json": "[]",
		"half/adapter_config.json":    "{}",
		"line\nbreak\x1b[31m/a":       "",
		"text.txt":                    "hello, this is no tensor file",
	})
	for _, c := range []struct{ path, want string }{
		{"none", "none"},
		{"cut.safetensors", "cut.safetensors"},
		{"cut.gguf", "cut.gguf"},
		{"text.txt", "text.txt"},
		{"empty", "no model.safetensors, model.safetensors.index.json or adapter_config.json"},
		{"bad", "config.json"},
		{"adapter", "adapter_config.json"},
		{"half", "adapter_model.safetensors"},
		{"line\nbreak\x1b[31m", `line\nbreak\x1b[31m`},
	} {
		tenonCmd(t, "inspect", filepath.Join(dir, c.path)).failed(t, c.want)
		tenonCmd(t, "inspect", "--json", filepath.Join(dir, c.path)).failed(t, c.want)
	}
	for _, args := range [][]string{{"inspect"}, {"inspect", "a", "b"}, {"inspect", "a", "--yaml"}} {
		if r := tenonCmd(t, args...); r.code != exitUsage {
			t.Errorf("%v: %+v", args, r)
		}
	}
}
