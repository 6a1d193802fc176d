package tensor

import "github.com/tenon-ml/tenon/asm"

// runSkinny streams the rows of the transposed b.
func (g *gemmCall) runSkinny(w *Workers) {
	if g.a.cs != 1 {
		g.x = floats(&g.x, g.m*g.k)
		for i := range g.m {
			for l := range g.k {
				g.x[i*g.k+l] = g.a.f32[i*g.a.rs+l*g.a.cs]
			}
		}
		g.a = matrix{f32: g.x, dt: F32, rs: g.k, cs: 1}
	}
	// A task reads about 64 KiB of b, in whole groups of four rows, and there are
	// enough tasks that the last one does not keep the others waiting.
	g.width = min(streamBytes/g.b.dt.Bytes(g.k), skinnyLen/g.m, ceil(g.n, 8*w.n))
	g.width = max(4, g.width&^3)
	g.run(w, ceil(g.n, g.width), g.stream)
}

func (g *gemmCall) streamTask(task, worker int) {
	j := task * g.width
	nn := min(g.width, g.n-j)
	a, b := &g.a, &g.b
	c := g.c[j:]
	direct := g.alpha == 1 && !g.accumulate
	local := floats(&g.local[worker], skinnyLen+decodeLen)
	out, ldo := c, g.ldc
	if !direct {
		out, ldo = local[:g.m*nn], nn
	}
	if b.dt == F32 {
		asm.RowDotsMulti(out, ldo, b.f32[j*b.cs:], b.cs, nn, a.f32, a.rs, g.m, g.k)
	} else if g.m > 1 || !b.rowDots(out[:nn], a.f32[:g.k], j) {
		g.decodeDots(out, ldo, local[skinnyLen:], j, nn)
	}
	if direct {
		return
	}
	for i := range g.m {
		row, sums := c[i*g.ldc:][:nn], out[i*ldo:]
		if g.accumulate {
			asm.AddScaled(row, sums, g.alpha)
		} else {
			asm.Scale(row, sums, g.alpha)
		}
	}
}

// rowDots multiplies stored rows j to j+len(dst) by v without writing
// their decoded form, if there is a kernel for the type.
func (x *matrix) rowDots(dst, v []float32, j int) bool {
	rows := x.raw[x.dt.Bytes(j*x.cs):]
	switch x.dt {
	case BF16:
		asm.RowDotsBF16(dst, rows, x.cs, v)
	case Q8_0:
		asm.RowDotsQ8_0(dst, rows, x.cs, v)
	case Q4_0:
		asm.RowDotsQ4_0(dst, rows, x.cs, v)
	case Q4_1:
		asm.RowDotsQ4_1(dst, rows, x.cs, v)
	default:
		return false
	}
	return true
}

// decodeDots is RowDotsMulti on rows of another type, decoded four at a time
// into buf, in pieces if they are long.
func (g *gemmCall) decodeDots(out []float32, ldo int, buf []float32, j, nn int) {
	const piece = decodeLen / 4
	var part [skinnyRows * 4]float32
	for i := 0; i < nn; i += 4 {
		rows := min(4, nn-i)
		for l := 0; l < g.k; l += piece {
			kk := min(piece, g.k-l)
			g.b.decode(buf, j+i, rows, l, kk)
			asm.RowDotsMulti(part[:], 4, buf, kk, rows, g.a.f32[l:], g.a.rs, g.m, kk)
			for r := range g.m {
				for q := range rows {
					if l == 0 {
						out[r*ldo+i+q] = part[4*r+q]
					} else {
						out[r*ldo+i+q] += part[4*r+q]
					}
				}
			}
		}
	}
}
