package autograd

import "github.com/tenon-ml/tenon/tensor"

// Embedding returns the rows of table [V, C] that ids name: z[i] = table[ids[i]],
// [N, C]. An id outside the table panics with a ShapeError.
//
//	dtable[ids[i]] += dz[i]
func (t *Tape) Embedding(table *Value, ids []int32) *Value {
	z := table.T.Gather(t.arena, ids)
	return t.record("embedding", z, []*Value{table}, nil, func(dz tt, _ []bool) []tt {
		if g := t.existing(table); g != nil {
			g.ScatterAdd(dz, ids)
			return []tt{nil}
		}
		g := tensor.Result(dz.DType(), table.Shape(), dz).Fill(0)
		g.ScatterAdd(dz, ids)
		return []tt{g}
	})
}
