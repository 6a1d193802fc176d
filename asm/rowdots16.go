package asm

import "math"

// Vector16 is a vector whose elements are rounded to 14 bits and a sign, block by
// block: element l is about Q[l]·Scale[l/block]. Its block is 32 elements, and 64 for
// rows of NF4, where Q is in the order in which the kernels meet the elements.
type Vector16 struct {
	Q     []int16
	Scale []float32 // of a block: its largest magnitude / 8191
	Sum   []float32 // of a block: the sum of its elements
	Eight []int32   // of a block: -8 times the sum of its Q
}

const most16 = 8191 // two such numbers' product takes 26 bits, and eight products' sum 29

// Round sets v to x, whole blocks of so many elements.
//
//	scale[b] = max |x| / 8191    over the block
//	q[l] = round(x[l] / scale[b]), ties to even
func (v *Vector16) Round(x []float32, block int) {
	blocks := len(x) / block
	if cap(v.Q) < len(x) {
		v.Q = make([]int16, len(x))
	}
	if cap(v.Scale) < blocks {
		v.Scale, v.Sum, v.Eight = make([]float32, blocks), make([]float32, blocks), make([]int32, blocks)
	}
	v.Q, v.Scale, v.Sum, v.Eight = v.Q[:len(x)], v.Scale[:blocks], v.Sum[:blocks], v.Eight[:blocks]
	for b := range blocks {
		part, q := x[b*block:][:block], v.Q[b*block:][:block]
		var most uint32
		var s0, s1 float32
		for l := 0; l+1 < len(part); l += 2 {
			most = max(most, math.Float32bits(part[l])&^(1<<31), math.Float32bits(part[l+1])&^(1<<31))
			s0 += part[l]
			s1 += part[l+1]
		}
		largest := math.Float32frombits(most) // NaN if there is one
		scale := largest / most16
		inverse := 1 / scale
		if scale < 0x1p-126 { // what is so small counts for nothing
			scale, inverse = 0, 0
		}
		v.Scale[b], v.Sum[b] = scale, s0+s1
		var sum int32
		for l, e := range part {
			const shift = 3 << 22 // added, it leaves the nearest integer in the lower bits
			q[l] = int16(math.Float32bits(float32(e*inverse) + shift))
			sum += int32(q[l])
		}
		v.Eight[b] = -8 * sum
	}
}

// SplitNF4 puts Q in the order of RowDotsNF4Int16: of 64 elements, even ones and then
// odd ones.
func (v *Vector16) SplitNF4() {
	var even, odd [32]int16
	for l := 0; l < len(v.Q); l += 64 {
		q := (*[64]int16)(v.Q[l:])
		for i := range 32 {
			at := i
			if !use512 { // 16 bytes' codes are unpacked 8 at a time
				at = i/16*8 + i/8%2*16 + i%8
			}
			even[at], odd[at] = q[2*i], q[2*i+1]
		}
		copy(q[:], even[:])
		copy(q[32:], odd[:])
	}
}

// dots16Args is what a kernel is told; the assembly knows its layout.
type dots16Args struct {
	dst    *float32
	w      *byte
	stride int // bytes between rows
	rows   int
	x      *int16
	scale  *float32
	sum    *float32
	blocks int // of a row

	// NF4: the number of the first 64 elements, and the shift from such numbers to
	// blocks.
	absmax       *float32
	block, shift int
	table        *table16

	eight *int32

	// Rows side by side, if apart is not 0: four groups of so many rows, apart bytes from
	// each other, their results dstApart bytes.
	apart, dstApart int
}

// table16 is the table of NF4 or FP4 in 14 bits and a sign: twice, and its bytes apart.
type table16 struct {
	words      [32]int16
	low, upper [16]byte
}

// HasInt16 reports whether the tier has kernels of rows by a Vector16. Otherwise
// plain Go computes the same, but for the order of its sums.
func HasInt16() bool { return has16 && useVec }

// dots16 multiplies rows of blocks of 32 elements.
func dots16(f rowFormat, dst []float32, w []byte, ld int, x *Vector16) {
	blocks, stride := len(x.Scale), f.at(ld)
	if len(dst) == 0 {
		return
	}
	w = w[:(len(dst)-1)*stride+f.at(len(x.Q))]
	if !HasInt16() || blocks == 0 {
		plain16(f, dst, w, ld, x)
		return
	}
	a := dots16Args{stride: stride, x: &x.Q[0], scale: &x.Scale[0], sum: &x.Sum[0], eight: &x.Eight[0], blocks: blocks}
	for i, step := 0, max(1, dotsChunk/len(x.Q)); i < len(dst); i += step {
		a.dst, a.w, a.rows, a.apart = &dst[i], &w[i*stride], min(step, len(dst)-i), 0
		if rows := a.rows / 4; use512 && rows > 0 {
			n := a.rows - 4*rows
			a.rows, a.apart, a.dstApart = rows, rows*stride, 4*rows
			dots16Blocks(f, &a)
			if n == 0 {
				continue
			}
			i := i + 4*rows
			a.dst, a.w, a.rows, a.apart = &dst[i], &w[i*stride], n, 0
		}
		dots16Blocks(f, &a)
	}
}

// plain16 is the definition: of a block, the integers of the weights and of x are
// multiplied and added up exactly, then scaled.
func plain16(f rowFormat, dst []float32, w []byte, ld int, x *Vector16) {
	size, stride := rowTypes[f].bytes, f.at(ld)
	for i := range dst {
		var s float32
		for b, scale := range x.Scale {
			block, q := w[i*stride+b*size:][:size], x.Q[b*blockLen:][:blockLen]
			d := f16ToF32(uint16(block[0]) | uint16(block[1])<<8)
			var sum int32
			for l, v := range q {
				sum += int32(v) * integer16(f, block, l)
			}
			s += float32(float32(sum) * float32(d*scale))
			if f == rowsQ4_1 {
				s += float32(f16ToF32(uint16(block[2])|uint16(block[3])<<8) * x.Sum[b])
			}
		}
		dst[i] = s
	}
}

// integer16 returns the integer of element l of a block.
func integer16(f rowFormat, block []byte, l int) int32 {
	if f == rowsQ8_0 {
		return int32(int8(block[2+l]))
	}
	code := block[len(block)-16+l%16] >> (l / 16 * 4) & 15
	switch f {
	case rowsQ4_0:
		return int32(code) - 8
	case rowsIQ4_NL:
		return int32(iq4NL[code])
	}
	return int32(code)
}

// RowDotsQ8_0Int16 multiplies rows of Q8_0, ld elements apart, by x in integers:
//
//	dst[i] = Σ_b (d·scale[b] · Σ_l q·x.Q[l])    over the blocks and their elements
//
// The rounding of x to 14 bits is the whole difference to RowDotsQ8_0: about 5e-5 of
// the largest result where weights and x are like noise.
func RowDotsQ8_0Int16(dst []float32, w []byte, ld int, x *Vector16) { dots16(rowsQ8_0, dst, w, ld, x) }

// RowDotsQ4_0Int16 is RowDotsQ8_0Int16 on rows of Q4_0.
func RowDotsQ4_0Int16(dst []float32, w []byte, ld int, x *Vector16) { dots16(rowsQ4_0, dst, w, ld, x) }

// RowDotsQ4_1Int16 is RowDotsQ8_0Int16 on rows of Q4_1; a block's minimum multiplies
// the sum of x before it was rounded.
func RowDotsQ4_1Int16(dst []float32, w []byte, ld int, x *Vector16) { dots16(rowsQ4_1, dst, w, ld, x) }

// RowDotsIQ4_NLInt16 is RowDotsQ8_0Int16 on rows of IQ4_NL.
func RowDotsIQ4_NLInt16(dst []float32, w []byte, ld int, x *Vector16) {
	dots16(rowsIQ4_NL, dst, w, ld, x)
}

// HasRowDotsNF4Int16 reports whether RowDotsNF4Int16 takes vectors of k elements and
// blocks of so many.
func HasRowDotsNF4Int16(k, block int) bool {
	return HasInt16() && k > 0 && k%64 == 0 && block >= 64 && block&(block-1) == 0
}

// RowDotsNF4Int16 is RowDotsNF4 by one vector in integers: the values of the codes are
// rounded to 14 bits of the largest, x is in blocks of 64 and split (SplitNF4). It
// panics unless HasRowDotsNF4Int16 and first is a multiple of 64.
func RowDotsNF4Int16(dst []float32, codes []byte, absmax []float32, block int, c *Codebook, first int, x *Vector16) {
	k := len(x.Q)
	if !HasRowDotsNF4Int16(k, block) || first%64 != 0 {
		panic("asm: RowDotsNF4Int16 without a kernel")
	}
	if len(dst) == 0 {
		return
	}
	_, _ = codes[:(first+len(dst)*k)/2], absmax[(first+len(dst)*k-1)/block]
	a := dots16Args{stride: k / 2, x: &x.Q[0], scale: &x.Scale[0], sum: &x.Sum[0], blocks: k / 64, absmax: &absmax[0], table: &c.rounded}
	for 64<<a.shift < block {
		a.shift++
	}
	for i, step := 0, max(1, dotsChunk/k); i < len(dst); i += step {
		a.dst, a.w, a.rows = &dst[i], &codes[(first+i*k)/2], min(step, len(dst)-i)
		a.block = (first + i*k) / 64
		dots16Blocks(rowsNF4, &a)
	}
	Scale(dst, dst, c.unit)
}

// round16 rounds the values to 14 bits; unit is what 1 stands for.
func (c *Codebook) round16() (t table16, unit float32) {
	var most float32
	for _, v := range c.Values {
		most = max(most, v, -v)
	}
	if most == 0 {
		return t, 0
	}
	for i, v := range c.Values {
		w := int16(math.RoundToEven(float64(v) / float64(most) * most16))
		t.words[i], t.words[16+i] = w, w
		t.low[i], t.upper[i] = byte(w), byte(uint16(w)>>8)
	}
	return t, most / most16
}
