package tenon_test

import (
	"encoding/binary"
	"math"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tenon-ml/tenon"
	"github.com/tenon-ml/tenon/autograd"
	"github.com/tenon-ml/tenon/format/safetensors"
	"github.com/tenon-ml/tenon/nn"
	"github.com/tenon-ml/tenon/tensor"
)

// TestGGUF compares the logits of tiny models in GGUF files, of each family and
// each type of block, with transformers' on the weights as gguf-py decodes them.
func TestGGUF(t *testing.T) {
	files, err := filepath.Glob("testdata/[lf]*/gguf/*.gguf")
	if err != nil || len(files) == 0 {
		t.Fatal("no files", err)
	}
	for _, path := range files {
		t.Run(filepath.Base(path), func(t *testing.T) {
			m, err := tenon.Load(path, tenon.Options{Threads: 2})
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			g, err := safetensors.Open(strings.TrimSuffix(path, ".gguf") + ".golden.safetensors")
			if err != nil {
				t.Fatal(err)
			}
			defer g.Close()
			info, _ := g.Info("tokens")
			raw := g.Bytes("tokens")
			ids := make([]int32, tensor.Shape(info.Shape).Elems())
			for i := range ids {
				ids[i] = int32(binary.LittleEndian.Uint32(raw[i*len(raw)/len(ids):]))
			}
			arena := tensor.NewArena(m.Device)
			defer arena.Close()
			s := &nn.Step{Tape: autograd.NoGrad(arena), B: info.Shape[0], T: info.Shape[1]}
			got := nn.Logits(m.LM, s, ids).T.F32s()
			want := make([]float32, len(got))
			if err := g.Decode(want, "logits64"); err != nil {
				t.Fatal(err)
			}
			var worst float64
			for i := range want {
				worst = max(worst, math.Abs(float64(got[i]-want[i])))
			}
			if !(worst <= 1e-4) {
				t.Errorf("logits are off by %g", worst)
			}
		})
	}
}
