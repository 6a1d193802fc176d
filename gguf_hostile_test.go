package tenon

import (
	"encoding/binary"
	"errors"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/format/gguf"
	"github.com/tenon-ml/tenon/internal/mapped"
)

// withFloats returns a GGUF file with further metadata.
func withFloats(file []byte, pairs map[string]float32) []byte {
	le := binary.LittleEndian
	var more []byte
	text := func(s string) { more = append(le.AppendUint64(more, uint64(len(s))), s...) }
	for key, v := range pairs {
		text(key)
		more = le.AppendUint32(le.AppendUint32(more, 6), math.Float32bits(v))
	}
	// A text fills up to the alignment, so that the data stays where it is.
	text("filler")
	more = le.AppendUint32(more, 8)
	text(strings.Repeat("x", 31-(len(more)+7)%32))
	out := slices.Insert(slices.Clone(file), 24, more...)
	le.PutUint64(out[16:], le.Uint64(out[16:])+uint64(len(pairs))+1)
	return out
}

// Keys of a GGUF file that change what the model computes are heeded or refused,
// never passed over.
func TestGGUFKeys(t *testing.T) {
	good, err := os.ReadFile("testdata/families/gguf/qwen3.F32.gguf")
	if err != nil {
		t.Fatal(err)
	}
	for about, c := range map[string]struct {
		pairs  map[string]float32
		factor float64 // of linear scaling
		refuse string
	}{
		"nothing":          {nil, 0, ""},
		"factor alone":     {map[string]float32{"qwen3.rope.scaling.factor": 4}, 4, ""},
		"its old name":     {map[string]float32{"qwen3.rope.scale_linear": 2}, 2, ""},
		"both":             {map[string]float32{"qwen3.rope.scale_linear": 2, "qwen3.rope.scaling.factor": 1}, 0, ""},
		"no factor":        {map[string]float32{"qwen3.rope.scaling.factor": float32(math.NaN())}, 0, "qwen3.rope.scaling.factor"},
		"attention factor": {map[string]float32{"qwen3.rope.scaling.attn_factor": 0.5}, 0, "qwen3.rope.scaling.attn_factor"},
		"log multiplier":   {map[string]float32{"qwen3.rope.scaling.yarn_log_multiplier": 0.1}, 0, "qwen3.rope.scaling.yarn_log_multiplier"},
		"ext factor":       {map[string]float32{"qwen3.rope.scaling.yarn_ext_factor": -1}, 0, ""},
	} {
		path := filepath.Join(t.TempDir(), "m.gguf")
		if err := os.WriteFile(path, withFloats(good, c.pairs), 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := gguf.Open(path)
		if err != nil {
			t.Fatalf("%s: %v", about, err)
		}
		defer f.Close()
		config, err := configOfGGUF(f)
		if c.refuse != "" {
			if err == nil || !strings.HasPrefix(err.Error(), path+": ") || !strings.Contains(err.Error(), c.refuse) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%s: %v, want %q in it", about, err, c.refuse)
			}
			continue
		}
		want := "default"
		if c.factor != 0 {
			want = "linear"
		}
		if err != nil || config.RoPE.Type != want || config.RoPE.Factor != c.factor {
			t.Errorf("%s: %v, %q by %g, want %q by %g", about, err, config.RoPE.Type, config.RoPE.Factor, want, c.factor)
		}
	}
}

// A file that is cut off between its header and its tensors is an error, also for
// rows that are put into another order.
func TestGGUFTruncatedInUse(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("files are not mapped on this system, nor can they be cut off while they are open")
	}
	good, err := os.ReadFile("testdata/llama/gguf/chat.F32.gguf")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "m.gguf")
	if err := os.WriteFile(path, good, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := gguf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	config, err := configOfGGUF(f)
	if err != nil {
		t.Fatal(err)
	}
	source := newGGUFSource(f, config)
	if err := os.Truncate(path, 100); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"model.layers.0.self_attn.q_proj.weight", "model.layers.1.mlp.up_proj.weight", "model.embed_tokens.weight"} {
		shape, ok := source.Shape(name)
		if !ok {
			t.Fatalf("no tensor %q", name)
		}
		if err := source.Decode(make([]float32, shape[0]*shape[1]), name); !errors.Is(err, mapped.ErrChanged) || !strings.HasPrefix(err.Error(), path+": ") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
