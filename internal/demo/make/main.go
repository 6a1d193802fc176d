// Command make prepares and finishes the training of the demo's base model, which
// examples/demo-base/train.sh does:
//
//	go run ./internal/demo/make init DIR      an untrained model and its data
//	go run ./internal/demo/make store IN OUT  the trained one, in BF16
//
// Everything it writes follows from the constants below.
package main

import (
	"encoding/json"
	"errors"
	"log"
	"maps"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon"
	"github.com/tenon-ml/tenon/format/safetensors"
	"github.com/tenon-ml/tenon/format/tokenizer"
	"github.com/tenon-ml/tenon/internal/demo"
	"github.com/tenon-ml/tenon/nn"
	"github.com/tenon-ml/tenon/nn/llama"
	"github.com/tenon-ml/tenon/tensor"
)

const (
	seed  = 1
	lines = 96000 // of training data
	vocab = 512   // tokens: the end, 256 bytes, and merges
)

// config is the model's shape: 0.85 million parameters.
var config = map[string]any{
	"architectures": []string{"LlamaForCausalLM"}, "model_type": "llama", "hidden_act": "silu", "dtype": "float32",
	"vocab_size": vocab, "hidden_size": 128, "intermediate_size": 384, "num_hidden_layers": 4,
	"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 32, "max_position_embeddings": 512,
	"rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": true, "attention_bias": false, "mlp_bias": false,
	"bos_token_id": nil, "eos_token_id": 0,
}

func main() {
	log.SetFlags(0)
	var err error
	switch args := os.Args[1:]; {
	case len(args) == 2 && args[0] == "init":
		err = initialise(args[1])
	case len(args) == 3 && args[0] == "store":
		err = store(args[1], args[2])
	default:
		err = errors.New("usage: make init DIR | make store IN OUT")
	}
	if err != nil {
		log.Fatal(err)
	}
}

// initialise writes DIR/init, a model with random weights, and DIR/base.jsonl.
func initialise(dir string) error {
	model := filepath.Join(dir, "init")
	if err := os.MkdirAll(model, 0o777); err != nil {
		return err
	}
	data := demo.BaseData(lines, seed)
	tok, err := tokenizer.FromGGUF(demo.Vocabulary(bytePairs(data)))
	if err != nil {
		return err
	}
	text, err := json.MarshalIndent(config, "", "  ")
	if err != nil {
		return err
	}
	c, err := llama.ParseConfig(text)
	if err != nil {
		return err
	}
	var entries []safetensors.Entry
	for name, p := range nn.Params(llama.New(c)) {
		x := make([]float32, p.Shape().Elems())
		if len(p.Shape()) == 1 {
			for i := range x {
				x[i] = 1
			}
		} else {
			std := 1 / math.Sqrt(float64(p.Shape()[1]))
			switch {
			case strings.Contains(name, "embed_tokens"):
				std = 0.1
			case strings.Contains(name, "o_proj") || strings.Contains(name, "down_proj"):
				std /= 2 // what a block adds to its input begins small
			}
			tensor.NewRandom(seed, name).Normal(x, 0, std)
		}
		entries = append(entries, safetensors.FromFloats(name, tensor.F32, p.Shape(), x))
	}
	return errors.Join(
		tok.Save(model, ""),
		os.WriteFile(filepath.Join(model, "config.json"), append(text, '\n'), 0o666),
		safetensors.Write(filepath.Join(model, safetensors.ModelFile), entries, map[string]string{"format": "pt"}),
		demo.WriteJSONL(filepath.Join(dir, "base.jsonl"), data),
		demo.WriteJSONL(filepath.Join(dir, "base-held-out.jsonl"), demo.BaseData(200, seed+1)),
	)
}

// bytePairs learns a byte-level BPE from the words of the data: again and again
// the two neighbours that occur together most often become a token. It returns
// the tokens, the end of text first, and the merges.
func bytePairs(data []demo.Sample) (tokens, merges []string) {
	tokens = append(tokens, demo.End)
	for b := range 256 {
		tokens = append(tokens, string(demo.ByteRune(byte(b))))
	}
	count := map[string]int{}
	word := regexp.MustCompile(` ?[A-Za-z]+`)
	for _, s := range data {
		if strings.HasPrefix(s.Prompt, "copy") || strings.HasPrefix(s.Prompt, "spell") {
			continue // no words
		}
		for _, w := range slices.Concat(word.FindAllString(s.Prompt, -1), word.FindAllString(s.Completion, -1)) {
			count[w]++
		}
	}
	type entry struct {
		pieces []string
		n      int
	}
	var words []entry
	for _, w := range slices.Sorted(maps.Keys(count)) {
		e := entry{n: count[w]}
		for _, b := range []byte(w) {
			e.pieces = append(e.pieces, string(demo.ByteRune(b)))
		}
		words = append(words, e)
	}
	for len(tokens) < vocab {
		pairs := map[[2]string]int{}
		for _, w := range words {
			for i := range len(w.pieces) - 1 {
				pairs[[2]string(w.pieces[i:i+2])] += w.n
			}
		}
		var best [2]string
		for p, n := range pairs {
			if n > pairs[best] || n == pairs[best] && slices.Compare(p[:], best[:]) < 0 {
				best = p
			}
		}
		if pairs[best] == 0 {
			log.Fatalf("the data has words for %d tokens only, want %d", len(tokens), vocab)
		}
		tokens, merges = append(tokens, best[0]+best[1]), append(merges, best[0]+" "+best[1])
		for j, w := range words {
			for i := 0; i+1 < len(w.pieces); i++ {
				if [2]string(w.pieces[i:i+2]) == best {
					w.pieces = slices.Replace(w.pieces, i, i+2, best[0]+best[1])
				}
			}
			words[j] = w
		}
	}
	return tokens, merges
}

// store writes a trained checkpoint in BF16, without what the demo does not need.
func store(in, out string) error {
	m, err := tenon.Load(in, tenon.Options{})
	if err != nil {
		return err
	}
	defer m.Close()
	if err := errors.Join(os.RemoveAll(out), os.MkdirAll(out, 0o777)); err != nil {
		return err
	}
	return m.SaveCheckpoint(out, "bf16", log.Printf)
}
