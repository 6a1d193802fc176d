package autograd

import (
	"math"

	"github.com/tenon-ml/tenon/tensor"
)

// Attention returns softmax(scale·q·kᵀ)·v for each head, causal and with grouped
// keys (Ainslie et al., "GQA", 2023): q is [B, Tq, H, D], k and v [B, Tk, KV, D],
// the result [B, Tq, H, D]; query t sees the keys 0 … Tk-Tq+t, and query head h
// the key head h/(H/KV). No Tq×Tk matrix exists: what is kept is q, k, v, z and
// one number a query and head, from which the backward pass computes scores again.
//
//	dv = pᵀ·dz    ds = p·(dz·vᵀ - Σ dz·z)    dq = scale·ds·k    dk = scale·dsᵀ·q
func (q *Value) Attention(k, v *Value, scale float64) *Value {
	qs, ks := q.Shape(), k.Shape()
	if len(qs) != 4 || len(ks) != 4 || !ks.Equal(v.Shape()) || qs[0] != ks[0] || qs[3] != ks[3] || qs[1] > ks[1] || qs[2]%ks[2] != 0 {
		tensor.Bad("attention", "q [B, Tq, H, D] and k, v [B, Tk, KV, D], Tq ≤ Tk, H a multiple of KV", q.T, k.T, v.T)
	}
	s := tensor.AttentionShape{B: qs[0], Tq: qs[1], Tk: ks[1], H: qs[2], KV: ks[2], D: qs[3], Scale: float32(scale)}
	kern := q.T.Device().Kernels()
	if q.T.DType() != tensor.F32 || kern.Attention == nil || kern.AttentionGrad == nil {
		return q.attention(k, v, scale)
	}
	z := tensor.Result(tensor.F32, qs, q.T)
	lse := tensor.Result(tensor.F32, tensor.Shape{s.B, s.H, s.Tq}, q.T)
	kern.Attention(z, lse, q.T, k.T, v.T, s)
	return recordAll("attention", z, []*Value{q, k, v}, []tt{q.T, k.T, v.T, z, lse}, func(dz tt, _ []bool) []tt {
		dq, dk, dv := tensor.Result(tensor.F32, qs, dz), tensor.Result(tensor.F32, ks, dz), tensor.Result(tensor.F32, ks, dz)
		kern.AttentionGrad(dq, dk, dv, dz, z, lse, q.T, k.T, v.T, s)
		return []tt{dq, dk, dv}
	})
}

// attention is Attention in mandatory operations: its definition.
func (q *Value) attention(k, v *Value, scale float64) *Value {
	b, tq, h, d := q.Shape()[0], q.Shape()[1], q.Shape()[2], q.Shape()[3]
	tk, kv := k.Shape()[1], k.Shape()[2]
	heads := func(x *Value) *Value { // [B·H, Tk, D], key heads repeated
		x = x.Permute(0, 2, 1, 3).Reshape(b, kv, 1, tk*d).BroadcastTo(b, kv, h/kv, tk*d)
		return x.Reshape(b*h, tk, d)
	}
	mask := make([]float64, tq*tk)
	for i := range tq {
		for j := tk - tq + i + 1; j < tk; j++ {
			mask[i*tk+j] = math.Inf(-1)
		}
	}
	m := q.tape.constant(q.T.DType(), mask, 1, tq, tk)
	p := q.Permute(0, 2, 1, 3).Reshape(b*h, tq, d).MatMulT(heads(k)).Scale(scale).Add(m).Softmax()
	return p.MatMul(heads(v)).Reshape(b, h, tq, d).Permute(0, 2, 1, 3)
}
