package tenon

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"iter"
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
// the values of its weights, whatever file they came from and as whatever type they
// are held.
func (m *Model) Digest() (string, error) {
	config, err := json.Marshal(m.LM.Config.Raw) // keys sorted
	if err != nil {
		return "", err
	}
	type part struct {
		name  string
		value *autograd.Value
		sum   []byte
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
				parts[i].sum = sum(parts[i].value.T)
			}
		})
	}
	wait.Wait()
	all := sha256.New()
	all.Write(config)
	hashFloats(all, m.LM.Config.RoPE.Divisors)
	for _, p := range parts {
		fmt.Fprintf(all, "%q %v %v %x\n", p.name, tensor.F32, p.value.T.Shape(), p.sum)
	}
	return hex.EncodeToString(all.Sum(nil)), nil
}

// sum returns a SHA-256 of a tensor's values.
func sum(t *tensor.Tensor) []byte {
	h := sha256.New()
	for x := range values(t) {
		hashFloats(h, x)
	}
	return h.Sum(nil)
}

// valuesLen is the number of values that are decoded at a time, or those of one row.
const valuesLen = 1 << 16

// values yields a tensor's elements as F32, in order and in pieces, which are good
// until the next one.
func values(t *tensor.Tensor) iter.Seq[[]float32] {
	return func(yield func([]float32) bool) {
		if t.DType() == tensor.F32 {
			yield(t.F32())
			return
		}
		m := t.Rows2D()
		rows := max(1, valuesLen/max(1, m.Dim(1)))
		buf := make([]float32, min(rows, m.Dim(0))*m.Dim(1))
		for lo := 0; lo < m.Dim(0); lo += rows {
			part := m.Slice(lo, min(lo+rows, m.Dim(0)))
			x := buf[:part.Elems()]
			part.CopyTo(x)
			if !yield(x) {
				return
			}
		}
	}
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
// model, trained or not, as F32, which the model is in (Options.F32). After an error
// about names and shapes the model is as it was.
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
		case p.T.DType() != tensor.F32:
			problems = append(problems, fmt.Sprintf("tensor %q is held as %v, want a model loaded as F32", name, p.T.DType()))
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
