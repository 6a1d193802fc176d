package autograd

import (
	"math"

	"github.com/tenon-ml/tenon/tensor"
)

// Mask says which of the keys up to its own a query sees. The zero value is all.
type Mask struct {
	// Window is the number of the last keys that a query sees, its own included;
	// 0: all.
	Window int
	// Starts is, for each query [B·Tq], the first key that it may see, rising
	// along a row: documents that share a row. nil: 0.
	Starts []int32
	// Keys is the number of keys where k and v are those of a cache, stored head by
	// head with room for more: [B, KV, Room, D], of any type that can be decoded.
	// 0: k and v are [B, Tk, KV, D].
	Keys int
}

// Attention returns softmax(scale·q·kᵀ)·v for each head, causal and with grouped
// keys (Ainslie et al., "GQA", 2023): q is [B, Tq, H, D], k and v [B, Tk, KV, D],
// the result [B, Tq, H, D]; query t sees the keys up to Tk-Tq+t that the mask
// leaves, and query head h the key head h/(H/KV). No Tq×Tk matrix exists: what is
// kept is q, k, v, z and one number a query and head, from which the backward pass
// computes scores again.
//
//	dv = pᵀ·dz    ds = p·(dz·vᵀ - Σ dz·z)    dq = scale·ds·k    dk = scale·dsᵀ·q
func (q *Value) Attention(k, v *Value, mask Mask, scale float64) *Value {
	qs, ks := q.Shape(), k.Shape()
	if len(qs) != 4 || len(ks) != 4 || !ks.Equal(v.Shape()) {
		tensor.Bad("attention", "q [B, Tq, H, D] and k, v [B, Tk, KV, D]", q.T, k.T, v.T)
	}
	tk, kv, room := ks[1], ks[2], 0
	if mask.Keys > 0 {
		tk, kv, room = mask.Keys, ks[1], ks[2]
	}
	if qs[0] != ks[0] || qs[3] != ks[3] || qs[1] > tk || room > 0 && tk > room || qs[2]%kv != 0 {
		tensor.Bad("attention", "equal B and D, Tq ≤ Tk, H a multiple of KV", q.T, k.T, v.T)
	}
	if mask.Starts != nil && len(mask.Starts) != qs[0]*qs[1] || mask.Window < 0 {
		tensor.Bad("attention", "a window of 0 or more, and a first key for each query or none", q.T)
	}
	s := tensor.AttentionShape{B: qs[0], Tq: qs[1], Tk: tk, Room: room, H: qs[2], KV: kv, D: qs[3], Scale: float32(scale), Window: mask.Window, Starts: mask.Starts}
	kern := q.T.Device().Kernels()
	if q.T.DType() != tensor.F32 || kern.Attention == nil || kern.AttentionGrad == nil || room > 0 && training(q, k, v) {
		return q.attention(k, v, s)
	}
	z := tensor.Result(tensor.F32, qs, q.T)
	lse := tensor.Result(tensor.F32, tensor.Shape{s.B, s.H, s.Tq}, q.T)
	kern.Attention(z, lse, q.T, k.T, v.T, s)
	if u := unrecorded(z, q, k, v); u != nil {
		return u
	}
	return recordAll("attention", z, []*Value{q, k, v}, []tt{q.T, k.T, v.T, z, lse}, func(dz tt, _ []bool) []tt {
		dq, dk, dv := tensor.Result(tensor.F32, qs, dz), tensor.Result(tensor.F32, ks, dz), tensor.Result(tensor.F32, ks, dz)
		kern.AttentionGrad(dq, dk, dv, dz, z, lse, q.T, k.T, v.T, s)
		return []tt{dq, dk, dv}
	})
}

// attention is Attention in mandatory operations: its definition.
func (q *Value) attention(k, v *Value, s tensor.AttentionShape) *Value {
	heads := func(x *Value) *Value { // [B·H, Tk, D], key heads repeated
		if s.Room > 0 {
			x = x.Narrow(2, 0, s.Tk)
		} else {
			x = x.Permute(0, 2, 1, 3)
		}
		x = x.Reshape(s.B, s.KV, 1, s.Tk*s.D).BroadcastTo(s.B, s.KV, s.H/s.KV, s.Tk*s.D)
		return x.Reshape(s.B*s.H, s.Tk, s.D)
	}
	mask := make([]float64, s.B*s.Tq*s.Tk)
	for b := range s.B {
		for t := range s.Tq {
			first, end := s.Visible(b, t)
			for j := range s.Tk {
				if j < first || j >= end {
					mask[(b*s.Tq+t)*s.Tk+j] = math.Inf(-1)
				}
			}
		}
	}
	m := q.tape.constant(q.T.DType(), mask, s.B, 1, s.Tq, s.Tk)
	p := q.Permute(0, 2, 1, 3).Reshape(s.B*s.H, s.Tq, s.D).MatMulT(heads(k)).Scale(float64(s.Scale))
	p = p.Reshape(s.B, s.H, s.Tq, s.Tk).Add(m).Softmax().Reshape(s.B*s.H, s.Tq, s.Tk)
	return p.MatMul(heads(v)).Reshape(s.B, s.H, s.Tq, s.D).Permute(0, 2, 1, 3)
}
