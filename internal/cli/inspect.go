package cli

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/tenon-ml/tenon"
	"github.com/tenon-ml/tenon/format/bnb"
	"github.com/tenon-ml/tenon/format/gguf"
	"github.com/tenon-ml/tenon/format/safetensors"
	"github.com/tenon-ml/tenon/internal/mapped"
	"github.com/tenon-ml/tenon/tensor"
)

// inspection is what `inspect` tells; --json writes it as it is.
type inspection struct {
	Path       string           `json:"path"`
	Kind       string           `json:"kind"`   // model, adapter or tensors
	Format     string           `json:"format"` // safetensors or gguf
	Config     map[string]any   `json:"config,omitempty"`
	Parameters int64            `json:"parameters"`
	Trainable  int64            `json:"trainable"`
	Share      *float64         `json:"trainable_share"` // of the base and the adapter together; null without the base
	Base       *baseModel       `json:"base,omitempty"`
	Bytes      int64            `json:"bytes"`  // of tensor data
	DTypes     map[string]int64 `json:"dtypes"` // elements stored as each type
	Memory     *memoryBytes     `json:"memory_bytes,omitempty"`
	Tensors    []tensorInfo     `json:"tensors"`
}

// memoryBytes are what a model's weights take in memory, by --weights.
type memoryBytes struct {
	Stored int64 `json:"stored"`
	F32    int64 `json:"f32"`
}

// baseModel is the model that an adapter was trained on.
type baseModel struct {
	Path       string `json:"path"`       // as the adapter names it
	Parameters *int64 `json:"parameters"` // null if it is not on this machine
}

// tensorInfo is one stored tensor.
type tensorInfo struct {
	Name       string `json:"name"`
	DType      string `json:"dtype"`
	Shape      []int  `json:"shape"`
	Parameters int64  `json:"parameters"` // 0 for what training never changes
	Bytes      int64  `json:"bytes"`
	File       string `json:"file"`
	elements   int64
}

// configKeys are the keys of config.json and adapter_config.json, and the ends
// of GGUF's, that are shown.
var configKeys = []string{
	"model_type", "architectures", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
	"num_key_value_heads", "head_dim", "vocab_size", "max_position_embeddings", "tie_word_embeddings",
	"peft_type", "task_type", "base_model_name_or_path", "r", "lora_alpha", "lora_dropout", "use_rslora", "bias",
	"target_modules", "exclude_modules", "layers_to_transform", "modules_to_save",
	"general.architecture", "general.name", "embedding_length", "feed_forward_length", "block_count",
	"attention.head_count", "attention.head_count_kv", "context_length", "tokenizer.ggml.model", "tokenizer.ggml.pre",
}

func newInspect(e *env) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "inspect PATH",
		Short: "Show the tensors of a model, an adapter or a tensor file",
		Long: `Show what a model folder, an adapter folder, a .safetensors file, a shard
index (.index.json) or a .gguf file holds: shapes, element types, parameters,
and what share of them is trainable. For an adapter that is its parameters over
those of base and adapter together; the base is looked for where the adapter's
configuration says it is.`,
		Example: `  tenon inspect testdata/models/SmolLM2-135M-Instruct.Q4_1.gguf
  tenon inspect my-adapter --json`,
		Args: func(_ *cobra.Command, args []string) error {
			switch {
			case len(args) == 0:
				return usagef("PATH is missing")
			case len(args) > 1:
				return usagef("unexpected argument %q", args[1])
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			i, err := inspect(args[0])
			if err != nil {
				return err
			}
			w := bufio.NewWriter(e.stdout)
			if asJSON {
				err = writeJSON(w, i)
			} else {
				err = i.print(w)
			}
			return errors.Join(err, w.Flush())
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}

// inspect reads the headers of what lies at path.
func inspect(path string) (*inspection, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		i := &inspection{Path: path, Kind: "tensors"}
		if err := i.read(path); err != nil {
			return nil, err
		}
		if i.Format == "gguf" {
			i.Kind = "model"
		}
		i.count(i.Config["tie_word_embeddings"] == true)
		i.ofModel()
		return i, nil
	}

	if _, err := os.Stat(filepath.Join(path, adapterConfig)); err == nil {
		return inspectAdapter(path)
	}
	i := &inspection{Path: path, Kind: "model"}
	config, err := readConfig(filepath.Join(path, "config.json"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	i.configure(config)
	file := filepath.Join(path, safetensors.ModelFile)
	if _, err := os.Stat(file); err != nil {
		file = filepath.Join(path, safetensors.IndexFile)
	}
	if err := i.read(file); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: no %s, %s or %s in this folder", path, safetensors.ModelFile, safetensors.IndexFile, adapterConfig)
	} else if err != nil {
		return nil, err
	}
	i.count(config["tie_word_embeddings"] == true)
	i.ofModel()
	return i, nil
}

// The names of the files in an adapter's folder.
const (
	adapterConfig = "adapter_config.json"
	adapterFile   = "adapter_model.safetensors"
)

func inspectAdapter(path string) (*inspection, error) {
	i := &inspection{Path: path, Kind: "adapter"}
	config, err := readConfig(filepath.Join(path, adapterConfig))
	if err != nil {
		return nil, err
	}
	i.configure(config)
	if err := i.read(filepath.Join(path, adapterFile)); err != nil {
		return nil, err
	}
	i.count(false)
	i.Trainable = i.Parameters
	if name, ok := config["base_model_name_or_path"].(string); ok && name != "" {
		i.Base = &baseModel{Path: name}
		if base, ok := findBase(path, name); ok {
			b, err := inspect(base)
			if err != nil {
				return nil, fmt.Errorf("base of %s: %w", path, err)
			}
			i.Base.Parameters = &b.Parameters
			share := float64(i.Trainable) / float64(i.Trainable+b.Parameters)
			i.Share = &share
		}
	}
	return i, nil
}

// findBase looks for the model that an adapter names: as a path from here, or
// from the adapter's folder.
func findBase(adapter, name string) (string, bool) {
	places := []string{name}
	if !filepath.IsAbs(name) {
		places = append(places, filepath.Join(adapter, name))
	}
	for _, p := range places {
		info, err := os.Stat(p)
		if err != nil {
			continue
		}
		if !info.IsDir() {
			return p, true
		}
		for _, f := range []string{safetensors.ModelFile, safetensors.IndexFile} {
			if _, err := os.Stat(filepath.Join(p, f)); err == nil {
				return p, true
			}
		}
	}
	return "", false
}

// readConfig reads a JSON object from a file.
func readConfig(path string) (map[string]any, error) {
	b, err := mapped.ReadFile(path, 1<<24)
	if err != nil {
		return nil, err
	}
	var m map[string]any
	if err := json.Unmarshal(b, &m); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return m, nil
}

// configure keeps those keys of a configuration that are shown.
func (i *inspection) configure(config map[string]any) {
	for k, v := range config {
		_, end, _ := strings.Cut(k, ".")
		if v != nil && (slices.Contains(configKeys, k) || slices.Contains(configKeys, end)) {
			if i.Config == nil {
				i.Config = map[string]any{}
			}
			i.Config[k] = v
		}
	}
}

// read lists the tensors of a file.
func (i *inspection) read(path string) error {
	if tenon.IsGGUF(path) {
		i.Format = "gguf"
		return i.readGGUF(path)
	}
	i.Format = "safetensors"
	f, err := safetensors.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	q, err := bnb.Find(f)
	if err != nil {
		return err
	}
	for _, name := range q.Names() {
		info, _ := f.Info(name)
		t := tensorInfo{Name: name, DType: info.DType.String(), Shape: info.Shape, Bytes: int64(info.Bytes), File: filepath.Base(f.PathOf(name))}
		if q.Has(name) { // with its scales
			dt, size := q.Stored(name)
			t.DType, t.Bytes = dt.String(), int64(size)
			t.Shape, _ = q.Shape(name)
		}
		i.Tensors = append(i.Tensors, t)
	}
	return nil
}

func (i *inspection) readGGUF(path string) error {
	f, err := gguf.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	config := map[string]any{}
	for _, k := range f.Keys() {
		config[k], _ = f.Value(k)
	}
	i.configure(config)
	for _, t := range f.Tensors() {
		i.Tensors = append(i.Tensors, tensorInfo{
			Name: t.Name, DType: t.Type, Shape: t.Shape, Bytes: int64(t.Bytes), File: filepath.Base(path),
		})
	}
	return nil
}

// count sums up the tensors. Buffers that old checkpoints hold (inv_freq) and
// GGUF's RoPE factors are no parameters, nor is a head stored beside the
// embeddings that it is tied to, nor the base's own weight, which PEFT stores
// with an adapted head.
func (i *inspection) count(tied bool) {
	i.DTypes = map[string]int64{}
	for n := range i.Tensors {
		t := &i.Tensors[n]
		if t.Shape == nil {
			t.Shape = []int{}
		}
		t.elements = 1
		for _, d := range t.Shape {
			t.elements *= int64(d)
		}
		switch {
		case strings.HasSuffix(t.Name, "rotary_emb.inv_freq"), strings.HasPrefix(t.Name, "rope_freqs"):
		case tied && t.Name == "lm_head.weight":
		case i.Kind == "adapter" && strings.HasSuffix(t.Name, ".base_layer.weight"):
		default:
			t.Parameters = t.elements
		}
		i.Parameters += t.Parameters
		i.Bytes += t.Bytes
		i.DTypes[t.DType] += t.elements
	}
}

// ofModel sets what a model or a bare file has in place of a base: all of it
// is what full fine-tuning trains.
func (i *inspection) ofModel() {
	share := 1.0
	i.Trainable, i.Share = i.Parameters, &share
	if i.Kind != "model" {
		return
	}
	i.Memory = &memoryBytes{F32: 4 * i.Parameters}
	for _, t := range i.Tensors {
		switch {
		case t.Parameters == 0:
		case len(t.Shape) == 2 && t.DType != tensor.I8.String(): // as they are, but for F64
			i.Memory.Stored += min(t.Bytes, 4*t.Parameters)
		default:
			i.Memory.Stored += 4 * t.Parameters
		}
	}
}

// print writes the inspection for people.
func (i *inspection) print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "%s\t%s, %s\n", printable(i.Path), i.Kind, i.Format)
	for _, k := range slices.Sorted(maps.Keys(i.Config)) {
		v, err := json.Marshal(i.Config[k])
		if err != nil {
			return fmt.Errorf("%s: key %q: %w", i.Path, k, err)
		}
		fmt.Fprintf(t, "%s\t%s\n", printable(k), v)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(w)

	fmt.Fprintln(t, "tensor\ttype\tshape\tparameters")
	for _, x := range i.Tensors {
		shape := make([]string, len(x.Shape))
		for n, d := range x.Shape {
			shape[n] = fmt.Sprint(d)
		}
		fmt.Fprintf(t, "%s\t%s\t[%s]\t%d\n", printable(x.Name), x.DType, strings.Join(shape, " "), x.Parameters)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(w)

	var types []string
	for _, d := range slices.Sorted(maps.Keys(i.DTypes)) {
		types = append(types, fmt.Sprintf("%s %s", d, countText(i.DTypes[d])))
	}
	fmt.Fprintf(w, "%d tensors, %d parameters (%s), %s of data: %s\n",
		len(i.Tensors), i.Parameters, countText(i.Parameters), gigabytes(i.Bytes), strings.Join(types, ", "))
	if m := i.Memory; m != nil {
		fmt.Fprintf(w, "in memory: %s as stored, %s with --weights f32\n", gigabytes(m.Stored), gigabytes(m.F32))
	}
	var err error
	switch {
	case i.Kind == "adapter" && i.Share != nil:
		_, err = fmt.Fprintf(w, "trainable: %d of %d with the base, %.4f %%\n", i.Trainable, i.Trainable+*i.Base.Parameters, 100**i.Share)
	case i.Base != nil:
		_, err = fmt.Fprintf(w, "trainable: %d; the base %q is not here, so the share is not known\n", i.Trainable, i.Base.Path)
	case i.Kind == "adapter":
		_, err = fmt.Fprintf(w, "trainable: %d; the adapter names no base\n", i.Trainable)
	default:
		_, err = fmt.Fprintf(w, "trainable: %d by full fine-tuning\n", i.Trainable)
	}
	return err
}

// writeJSON writes one line of JSON, text as it is.
func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}
