package autograd

import (
	"slices"

	"github.com/tenon-ml/tenon/tensor"
)

// Ignore is the label of a position without loss, as in PyTorch.
const Ignore = -100

// The number of logits that exist at once in CrossEntropy, and where memory is saved by
// recomputation and the head is frozen: how rows are cut changes no bit of what is a row's,
// if a piece has more than a few, but it would of sums over rows.
const (
	logitsChunk = 12 << 20
	leanChunk   = logitsChunk / 8
	leanRows    = 32
)

// CrossEntropy returns Σ -log softmax(head(x))[label] / denom over the rows of x
// [N, C] whose label is not Ignore: with denom their number it is the mean that
// transformers reports. It takes hidden states and the output layer, goes by
// chunks of rows, and makes their gradients on the way, so that the full matrix
// of logits [N, V] never exists; rows without loss are never multiplied by the
// head.
//
//	l = head(x)    dl = dz·(softmax(l) - onehot(label))/denom    dx, dW, dA, dB as Affine's
func CrossEntropy(x *Value, head Affine, labels []int32, denom float64) *Value {
	v := head.W.T.Dim(0)
	if len(x.Shape()) != 2 || x.T.Dim(0) != len(labels) {
		tensor.Bad("cross-entropy", "hidden states [N, C], a label each", x.T)
	}
	var rows []int32
	for i, l := range labels {
		if l == Ignore {
			continue
		}
		if l < 0 || int(l) >= v {
			tensor.Bad("cross-entropy", "labels within the vocabulary", x.T, head.W.T)
		}
		rows = append(rows, int32(i))
	}
	kern := x.T.Device().Kernels()
	if x.T.DType() != tensor.F32 || kern.CrossEntropy == nil {
		return crossEntropy(x, head, labels, denom)
	}

	inputs := head.inputs(x)
	want, _ := wanted(inputs)
	train := training(inputs...)
	arena := tapeOf(inputs...).arena
	loss := tensor.Result(tensor.F32, tensor.Shape{max(len(rows), 1)}, x.T).Fill(0)
	grads := make([]tt, len(inputs))
	if train {
		for i, in := range inputs {
			if want[i] {
				grads[i] = tensor.Result(tensor.F32, in.Shape(), x.T)
				if i != 0 || len(rows) < len(labels) {
					grads[i].Fill(0)
				}
			}
		}
	}
	most := logitsChunk
	if t := tapeOf(inputs...); t != nil && t.lean && !slices.Contains(want[1:], true) {
		most = max(leanChunk, leanRows*v)
	}
	chunks := (len(rows)*v + most - 1) / most
	for c := range chunks {
		lo, hi := c*len(rows)/chunks, (c+1)*len(rows)/chunks
		if lo == hi {
			continue
		}
		arena.Scope(func() []tt {
			part := rows[lo:hi]
			picked := make([]int32, len(part))
			for i, r := range part {
				picked[i] = labels[r]
			}
			xc := x.T.Slice(int(part[0]), int(part[len(part)-1])+1)
			if len(part) != xc.Dim(0) {
				xc = x.T.Gather(arena, part)
			}
			h := head
			h.rows = part
			l, low := h.forward(xc)
			kern.CrossEntropy(loss.Slice(lo, hi), l, picked, 1/denom, train)
			if !train {
				return nil
			}
			if want[1] { // in place: a matrix of the vocabulary is not made twice
				grads[1].AddMatMul(l, xc, true, false, 1)
			}
			d := h.grad(l, &Value{T: xc}, xc, low, append([]bool{want[0], false}, want[2:]...))
			if want[0] {
				if first := int(part[0]); len(part) == int(part[len(part)-1])+1-first {
					grads[0].Slice(first, first+len(part)).CopyFrom(d[0])
				} else {
					grads[0].ScatterAdd(d[0], part)
				}
			}
			for i := 2; i < len(d); i++ {
				if d[i] != nil {
					grads[i].AddInPlace(d[i])
				}
			}
			return nil
		})
	}
	return recordAll("cross-entropy", loss.Reshape(1, loss.Elems()).Sum().Reshape(1), inputs, grads, func(dz tt, want []bool) []tt {
		a := dz.Item()
		out := make([]tt, len(grads))
		for i, g := range grads {
			if want[i] {
				out[i] = g
				if a != 1 {
					out[i] = g.Scale(a)
				}
			}
		}
		return out
	})
}

// crossEntropy is CrossEntropy in mandatory operations: its definition.
func crossEntropy(x *Value, head Affine, labels []int32, denom float64) *Value {
	return CrossEntropyLogits(x.Affine(head), labels, denom)
}

// CrossEntropyLogits is CrossEntropy for logits l [N, V] that exist already.
//
//	dl = dz·(softmax(l) - onehot(label))/denom
func CrossEntropyLogits(l *Value, labels []int32, denom float64) *Value {
	if len(l.Shape()) != 2 || l.T.Dim(0) != len(labels) {
		tensor.Bad("cross-entropy", "logits [N, V], a label each", l.T)
	}
	n, v := l.T.Dim(0), l.T.Dim(1)
	onehot, weight := make([]float64, n*v), make([]float64, n)
	for i, label := range labels {
		if label != Ignore {
			if label < 0 || int(label) >= v {
				tensor.Bad("cross-entropy", "labels within the vocabulary", l.T)
			}
			onehot[i*v+int(label)] = 1
			weight[i] = 1 / denom
		}
	}
	t, dt := l.tape, l.T.DType()
	top := &Value{T: l.T.Reduce(tensor.OpMax), tape: t}
	lse := l.Sub(top).Exp().Sum().Log().Add(top)
	picked := l.Mul(t.constant(dt, onehot, n, v)).Sum()
	return lse.Sub(picked).Mul(t.constant(dt, weight, n, 1)).SumAll()
}
