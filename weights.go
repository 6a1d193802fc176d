package tenon

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"math"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/tenon-ml/tenon/autograd"
	"github.com/tenon-ml/tenon/format/safetensors"
	"github.com/tenon-ml/tenon/nn"
	"github.com/tenon-ml/tenon/tensor"
)

// Digest returns a SHA-256 of what the model computes with: its configuration and
// its weights, whatever file they came from.
func (m *Model) Digest() (string, error) {
	config, err := json.Marshal(m.LM.Config.Raw) // keys sorted
	if err != nil {
		return "", err
	}
	type part struct {
		name  string
		value *autograd.Value
		sum   [sha256.Size]byte
	}
	var parts []*part
	for name, p := range nn.Params(m.LM) {
		parts = append(parts, &part{name: name, value: p})
	}
	var wait sync.WaitGroup
	var next atomic.Int64
	for range m.Device.Threads() {
		wait.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(parts)); i = next.Add(1) - 1 {
				h := sha256.New()
				if t := parts[i].value.T; t.DType() == tensor.F32 {
					hashFloats(h, t.F32())
				} else {
					h.Write(t.Raw())
				}
				h.Sum(parts[i].sum[:0])
			}
		})
	}
	wait.Wait()
	all := sha256.New()
	all.Write(config)
	hashFloats(all, m.LM.Config.RoPE.Divisors)
	for _, p := range parts {
		fmt.Fprintf(all, "%q %v %v %x\n", p.name, p.value.T.DType(), p.value.T.Shape(), p.sum)
	}
	return hex.EncodeToString(all.Sum(nil)), nil
}

// hashFloats adds the little-endian bytes of x.
func hashFloats(h hash.Hash, x []float32) {
	const chunk = 1 << 14
	b := make([]byte, 0, 4*chunk)
	for part := range slices.Chunk(x, chunk) {
		b = b[:0]
		for _, v := range part {
			b = binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
		}
		h.Write(b)
	}
}

// LoadWeights takes the weights of a checkpoint that SaveCheckpoint wrote of this
// model, trained or not, as F32. After an error about names and shapes the model
// is as it was.
func (m *Model) LoadWeights(dir string) error {
	f, err := safetensors.OpenDir(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	var problems []string
	for name, p := range nn.Params(m.LM) {
		switch shape, ok := f.Shape(name); {
		case !ok:
			problems = append(problems, fmt.Sprintf("tensor %q is missing", name))
		case !slices.Equal(shape, p.Shape()):
			problems = append(problems, fmt.Sprintf("tensor %q has shape %v, want %v", name, tensor.Shape(shape), p.Shape()))
		}
	}
	if problems != nil {
		return fmt.Errorf("%s: %w", f.Path(), nn.Problems(problems))
	}
	for name, p := range nn.Params(m.LM) {
		x := p.T.F32()
		if err := f.Decode(x, name); err != nil {
			return err
		}
		if !tensor.Finite(x) {
			return fmt.Errorf("%s: tensor %q holds NaN or Inf", f.Path(), name)
		}
	}
	return nil
}
