package tensor

import "github.com/tenon-ml/tenon/asm"

// rowDots multiplies rows of a stored type where they lie; rows of the others are
// decoded first, with the same result.
var rowDots = [numDTypes]func(dst []float32, ldd int, w []byte, ld, rows int, x []float32, ldx, m, k int){
	BF16:   asm.RowDotsBF16,
	F16:    asm.RowDotsF16,
	Q8_0:   asm.RowDotsQ8_0,
	Q4_0:   asm.RowDotsQ4_0,
	Q4_1:   asm.RowDotsQ4_1,
	IQ4_NL: asm.RowDotsIQ4_NL,
	Q4_K:   asm.RowDotsQ4_K,
	Q6_K:   asm.RowDotsQ6_K,
}

// skinny reports whether the rows of the transposed b are to be streamed.
func (g *gemmCall) skinny() bool {
	return g.m <= skinnyRows && g.b.rs == 1 && g.b.cs != 1 && g.a.dt == F32 && g.b.dt != Panels
}

// rowDotsInt16 multiplies rows of a stored type by a vector of 14-bit integers.
var rowDotsInt16 = [numDTypes]func(dst []float32, w []byte, ld int, x *asm.Vector16){
	Q8_0:   asm.RowDotsQ8_0Int16,
	Q4_0:   asm.RowDotsQ4_0Int16,
	Q4_1:   asm.RowDotsQ4_1Int16,
	IQ4_NL: asm.RowDotsIQ4_NLInt16,
}

// padded returns the distance of m rows of k elements at which they do not meet in the
// same sets of a cache: distances of 4 KiB would.
func padded(m, k int) int {
	if m > 1 && k%1024 == 0 {
		return k + 512
	}
	return k
}

// startSkinny prepares to stream the rows of the transposed b and returns the number
// of tasks into which c cuts them. before is a product in progress that may have
// rounded the same a, or nil.
func (g *gemmCall) startSkinny(c *cutter, before *gemmCall) (tasks int) {
	ldx := padded(g.m, g.k)
	if g.a.cs != 1 || ldx != g.k && g.a.rs%1024 == 0 {
		g.x = floats(&g.x, g.m*ldx)
		for i := range g.m {
			for l := range g.k {
				g.x[i*ldx+l] = g.a.f32[i*g.a.rs+l*g.a.cs]
			}
		}
		g.a = matrix{f32: g.x, dt: F32, rs: ldx, cs: 1}
	}
	g.split, g.integers = g.split[:0], nil
	q := g.b.quant
	switch {
	case !g.int16:
	case q != nil && asm.HasRowDotsNF4Int16(g.k, q.Block) && g.b.at%64 == 0:
		g.round(64, before)
	case rowDotsInt16[g.b.dt] != nil && asm.HasInt16():
		g.round(32, before)
	}
	if q != nil && len(g.integers) == 0 && asm.HasRowDotsNF4(g.m, g.k, q.Block) && g.b.at%32 == 0 {
		g.split = floats(&g.split, g.m*ldx)
		for i := range g.m {
			asm.SplitNF4(g.split[i*ldx:], g.a.f32[i*g.a.rs:][:g.k])
		}
	}
	g.starts = c.cut(g.starts[:0], g.n, g.b.dt.Bytes(g.k), skinnyLen/g.m)
	return len(g.starts) - 1
}

// A cutter cuts the rows that threads stream into tasks: a large one for each to begin
// with, since handing one out costs as much as some thousand bytes and memory is read
// best in long stretches, then ever smaller ones, so that the last does not keep the
// others waiting.
type cutter struct{ bytes, threads int } // bytes is what is left of all rows

// cut appends where the tasks of n rows of so many bytes begin, and n. None has more
// than most rows.
func (c *cutter) cut(starts []int, n, row, most int) []int {
	for j := 0; j < n; {
		starts = append(starts, j)
		bytes := max(streamLeast, min(streamBytes, c.bytes*4/(5*c.threads)))
		rows := min(max(4, bytes/row&^3), n-j) // whole groups of four rows
		if (n-j-rows)*row < streamLeast {
			rows = n - j
		}
		rows = min(rows, most)
		j += rows
		c.bytes -= rows * row
	}
	return append(starts, n)
}

// round rounds a's rows to integers, in blocks, unless before has them.
func (g *gemmCall) round(block int, before *gemmCall) {
	if before != nil && len(before.integers) == g.m && before.k == g.k && &before.a.f32[0] == &g.a.f32[0] &&
		(before.b.quant != nil) == (g.b.quant != nil) {
		g.integers = before.integers
		return
	}
	if g.rounded == nil {
		g.rounded = make([]asm.Vector16, skinnyRows)
	}
	g.integers = g.rounded[:g.m]
	for i := range g.integers {
		v := &g.integers[i]
		v.Round(g.a.f32[i*g.a.rs:][:g.k], block)
		if g.b.quant != nil {
			v.SplitNF4()
		}
	}
}

func (g *gemmCall) streamTask(task, worker int) {
	j := g.starts[task]
	nn := g.starts[task+1] - j
	a, b := &g.a, &g.b
	direct := g.alpha == 1 && !g.accumulate && !g.swapped
	local := floats(&g.local[worker], skinnyLen+max(decodeLen, g.k))
	out, ldo := local[:g.m*nn], nn
	if direct {
		out, ldo = g.c[j:], g.ldc
	}
	switch {
	case len(g.integers) > 0 && b.quant != nil:
		g.nf4Dots(out, ldo, local[skinnyLen:], j, nn)
	case len(g.integers) > 0:
		for i := range g.integers {
			rowDotsInt16[b.dt](out[i*ldo:][:nn], b.raw[b.dt.Bytes(j*b.cs):], b.cs, &g.integers[i])
		}
	case b.dt == F32:
		asm.RowDotsMulti(out, ldo, b.f32[j*b.cs:], b.cs, nn, a.f32, a.rs, g.m, g.k)
	case rowDots[b.dt] != nil:
		rowDots[b.dt](out, ldo, b.raw[b.dt.Bytes(j*b.cs):], b.cs, nn, a.f32, a.rs, g.m, g.k)
	case len(g.split) > 0:
		g.nf4Dots(out, ldo, local[skinnyLen:], j, nn)
	default:
		g.decodeDots(out, ldo, local[skinnyLen:], j, nn)
	}
	if direct {
		return
	}
	if g.swapped {
		g.put(j, out, nn, worker)
		return
	}
	for i := range g.m {
		row, sums := g.c[i*g.ldc+j:][:nn], out[i*ldo:]
		if g.accumulate {
			asm.AddScaled(row, sums, g.alpha)
		} else {
			asm.Scale(row, sums, g.alpha)
		}
	}
}

// nf4Dots multiplies rows of NF4 or FP4; scales is where nested scales are decoded.
func (g *gemmCall) nf4Dots(out []float32, ldo int, scales []float32, j, nn int) {
	q, from := g.b.quant, g.b.at+j*g.k
	step := max(1, min(len(scales)-2, scalesLen)*q.Block/g.k)
	for i := 0; i < nn; i += step {
		rows := min(step, nn-i)
		first := (from + i*g.k) / q.Block
		end := ceil(from+(i+rows)*g.k, q.Block)
		codes, absmax, at := g.b.raw[first*q.Block/2:], q.scales(scales, first, end-first), from+i*g.k-first*q.Block
		for m := range g.integers {
			asm.RowDotsNF4Int16(out[m*ldo+i:][:rows], codes, absmax, q.Block, q.book, at, &g.integers[m])
		}
		if len(g.integers) > 0 {
			continue
		}
		asm.RowDotsNF4(out[i:], ldo, codes, absmax, q.Block, q.book, at, rows, g.split, padded(g.m, g.k), g.m, g.k)
	}
}

// decodeDots is RowDotsMulti on rows of another type, decoded into buf, which has
// room for one or more.
func (g *gemmCall) decodeDots(out []float32, ldo int, buf []float32, j, nn int) {
	step := min(nn, len(buf)/g.k)
	for i := 0; i < nn; i += step {
		rows := min(step, nn-i)
		g.b.decode(buf, j+i, rows, 0, g.k)
		asm.RowDotsMulti(out[i:], ldo, buf, g.k, rows, g.a.f32, g.a.rs, g.m, g.k)
	}
}
