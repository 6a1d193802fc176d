package autograd

import (
	"slices"

	"github.com/tenon-ml/tenon/tensor"
)

// ReplaceRows returns w [V, C] with row ids[i] replaced by rows[i], [len(ids), C], of
// whose type it is: w may be stored as another.
//
//	dw = dz, 0 in those rows    drows[i] = dz[ids[i]]
func (t *Tape) ReplaceRows(w, rows *Value, ids []int32) *Value {
	replace := func(w tt, row func(i int) tt) tt {
		z := t.arena.New(rows.T.DType(), w.Shape()...)
		z.CopyFrom(w)
		for i, id := range ids {
			z.Slice(int(id), int(id)+1).CopyFrom(row(i))
		}
		return z
	}
	if rows.T.Dim(0) != len(ids) {
		tensor.Bad("replace rows", "a row for each id", w.T, rows.T)
	}
	z := replace(w.T, func(i int) tt { return rows.T.Slice(i, i+1) })
	return t.record(z, []*Value{w, rows}, nil, func(dz tt, want []bool) []tt {
		var dw, drows tt
		if want[0] {
			zero := t.arena.New(dz.DType(), 1, dz.Dim(1)).Fill(0)
			dw = replace(dz, func(int) tt { return zero })
		}
		if want[1] {
			drows = dz.Gather(t.arena, ids)
		}
		return []tt{dw, drows}
	})
}

// Embedding returns the rows of table [V, C] that ids name: z[i] = table[ids[i]],
// [N, C]. An id outside the table panics with a ShapeError. Rows of the ids in still
// get no gradient (PyTorch's padding_idx).
//
//	dtable[ids[i]] += dz[i]
func (t *Tape) Embedding(table *Value, ids []int32, still ...int32) *Value {
	z := table.T.Gather(t.arena, ids)
	if t.mode == inference || !table.wants() {
		return t.value(z)
	}
	return t.record(z, []*Value{table}, nil, func(dz tt, _ []bool) []tt {
		to, from := ids, []int32(nil)
		if len(still) > 0 {
			to = nil
			for i, id := range ids {
				if !slices.Contains(still, id) {
					to, from = append(to, id), append(from, int32(i))
				}
			}
			dz = dz.Gather(t.arena, from)
		}
		if g := t.existing(table); g != nil {
			g.ScatterAdd(dz, to)
			return []tt{nil}
		}
		g := tensor.Result(dz.DType(), table.Shape(), dz).Fill(0)
		g.ScatterAdd(dz, to)
		return []tt{g}
	})
}
