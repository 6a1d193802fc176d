package asm

import "unsafe"

// The product of a row and a vector, however the row is stored and however many
// vectors there are, is summed in this order: element l goes to slot l mod 32, where
// products are added one after the other (fused, where the tier has it); then the
// slots are added up by halves, s[i] + s[i+16], s[i] + s[i+8], and so on. So stored
// rows give, bit for bit, what their decoded values give. (Only F32 rows shorter than
// shortRow have another order.)
const (
	slots    = 32
	shortRow = 64
)

// A rowFormat is a type of stored rows.
type rowFormat int

const (
	rowsF32 rowFormat = iota
	rowsBF16
	rowsF16
	rowsQ8_0
	rowsQ4_0
	rowsQ4_1
	rowsIQ4_NL
	rowsQ4_K
	rowsQ6_K
	rowsNF4
)

// rowTypes has, of each format, the elements that a kernel unpacks at a time and
// those of a block, with its bytes.
var rowTypes = [...]struct{ unit, block, bytes int }{
	rowsF32: {32, 1, 4}, rowsBF16: {32, 1, 2}, rowsF16: {32, 1, 2},
	rowsQ8_0: {32, blockLen, sizeQ8_0}, rowsQ4_0: {32, blockLen, sizeQ4_0}, rowsQ4_1: {32, blockLen, sizeQ4_1}, rowsIQ4_NL: {32, blockLen, sizeIQ4_NL},
	rowsQ4_K: {superLen, superLen, sizeQ4_K}, rowsQ6_K: {superLen, superLen, sizeQ6_K}, rowsNF4: {32, 2, 1},
}

// at returns where element e begins.
func (f rowFormat) at(e int) int { return e / rowTypes[f].block * rowTypes[f].bytes }

// dotsArgs is what a kernel of rows is told:
//
//	for i := range rows {
//		for j := range m {
//			for l := range units * elems {
//				acc[(i*m+j)*32+l%32] += w(i, l) * x[j*ldx+l]
//			}
//		}
//	}
//
// The assembly knows its layout.
type dotsArgs struct {
	acc    *float32
	w      *byte
	stride int // bytes between rows
	rows   int
	x      *float32
	ldx, m int
	units  int // of a row, at least one

	// NF4 alone: the number of the first unit, those of a row that are left out, the
	// shift from units to blocks.
	absmax            *float32
	unit, skip, shift int
	table             *[16]float32

	// One vector by rows side by side, if apart is not 0: four groups of so many rows,
	// apart bytes from each other. acc is then where their sums go, accApart bytes from
	// each other.
	apart, accApart int
	unitsApart      [3]int // NF4: units from the first group to the others
}

// storedRows is a matrix of which rows are multiplied.
type storedRows struct {
	format rowFormat
	w      []byte
	ld     int // elements between rows

	// NF4 alone.
	absmax []float32
	block  int
	first  int // the number of w's first element
	table  *[16]float32
}

const (
	dotsLen   = 2048    // slots of the rows that are multiplied at a time
	dotsPiece = 4 << 10 // elements of all vectors that a piece of the rows meets: 16 KiB
	dotsL1    = 8 << 10 // elements of rows that stay in the L1 cache: 32 KiB
	dotsChunk = 1 << 18 // elements of a call of a kernel: far below 50 µs
)

// dots computes dst[j*ldd+i] for rows i of w and vectors j.
func (w *storedRows) dots(dst []float32, ldd, rows int, x []float32, ldx, m, k int) {
	if rows == 0 || m == 0 {
		return
	}
	_, _ = dst[(m-1)*ldd+rows-1], x[:(m-1)*ldx+k]
	if w.fours(dst, ldd, rows, x, ldx, m, k) {
		return
	}
	var acc [dotsLen]float32
	w.groups(acc[:], dst, ldd, rows, x, ldx, m, k)
}

// fours multiplies four rows at a time, whose streams memory serves at the same time, and
// adds their slots up in registers; it reports whether that pays: for one vector, and
// for several where rows are not decoded and stay in the L1 cache.
func (w *storedRows) fours(dst []float32, ldd, rows int, x []float32, ldx, m, k int) bool {
	unit := rowTypes[w.format].unit
	if !use512 || rows < 4 || k == 0 || k > dotsChunk || k%unit != 0 || m > 1 && (w.format != rowsF32 || rows*k > dotsL1) {
		return false
	}
	for i := 0; i < rows; {
		i = min(i, rows-4) // the last four may be some that are done already
		n := min((rows-i)/4, max(1, dotsChunk/4/k))
		a := w.args(i, 4*n, k, 0, k/unit)
		a.rows, a.apart, a.accApart = n, n*a.stride, 4*n
		for s := range a.unitsApart {
			a.unitsApart[s] = (s + 1) * n * a.units
		}
		for j := range m {
			a.m, a.acc, a.x = 1, &dst[j*ldd+i], &x[j*ldx]
			dotsUnits(w.format, &a)
		}
		i += 4 * n
	}
	return true
}

func (w *storedRows) groups(acc, dst []float32, ldd, rows int, x []float32, ldx, m, k int) {
	unit := rowTypes[w.format].unit
	kernel, fused := w.format, dotsVectors(w.format, m) > 0
	if !fused {
		kernel = rowsF32
	}
	piece := dotsChunk
	if m > 1 {
		piece = max(superLen, dotsPiece/m&^(superLen-1))
	}
	group := max(1, min(len(acc)/(m*slots), dotsChunk/max(k, 1)))
	for i := 0; i < rows; i += group {
		n := min(group, rows-i)
		if i > 0 {
			clear(acc[:n*m*slots])
		}
		for l := 0; l < k; l += piece {
			kk := min(piece, k-l)
			if !fused {
				w.decodedDots(acc, i, n, x, ldx, m, l, kk)
				continue
			}
			if kk >= unit {
				w.fusedDots(acc, i, n, x, ldx, m, k, l, kk/unit)
			}
			if rest := kk % unit; rest > 0 {
				w.restDots(acc, i, n, x, ldx, m, l+kk-rest, rest)
			}
		}
		sums := acc[:n*m]
		for j := 0; j < m; {
			mm := max(1, dotsVectors(kernel, m-j))
			foldSlots(kernel, sums[j*n:][:n*mm], acc[j*n*slots:][:n*mm*slots])
			for v := range mm {
				to := dst[(j+v)*ldd+i:][:n]
				for r := range to {
					to[r] = sums[j*n+r*mm+v]
				}
			}
			j += mm
		}
	}
}

// fusedDots multiplies units of n rows from element l of row i on. Vectors are taken
// in groups, one after the other in acc.
func (w *storedRows) fusedDots(acc []float32, i, n int, x []float32, ldx, m, k, l, units int) {
	a := w.args(i, n, k, l, units)
	a.ldx = ldx
	for j := 0; j < m; j += a.m {
		a.m = dotsVectors(w.format, m-j)
		a.acc, a.x = &acc[j*n*slots:][:n*a.m*slots][0], &x[j*ldx+l]
		dotsUnits(w.format, &a)
	}
}

// args tells a kernel of units of n rows from element l of row i on.
func (w *storedRows) args(i, n, k, l, units int) dotsArgs {
	unit, f := rowTypes[w.format].unit, w.format
	a := dotsArgs{stride: f.at(w.ld), rows: n, units: units}
	a.w = &w.w[f.at(i*w.ld+l):][:f.at((n-1)*w.ld+units*unit)][0]
	if f == rowsNF4 {
		a.unit, a.skip = (w.first+i*k+l)/unit, k/unit-units
		for unit<<a.shift < w.block {
			a.shift++
		}
		_ = w.absmax[(a.unit+n*(units+a.skip)-a.skip-1)>>a.shift]
		a.absmax, a.table = &w.absmax[0], w.table
	}
	return a
}

// decodedDots decodes rows piece by piece and multiplies what it has decoded.
func (w *storedRows) decodedDots(acc []float32, i, n int, x []float32, ldx, m, l, kk int) {
	var buf [4 * superLen]float32
	for end := l + kk; l < end; l += len(buf) {
		kk := min(len(buf), end-l)
		for r := range n {
			row := buf[:kk]
			w.decode(row, i+r, l)
			for j := 0; j < m; {
				vectors, whole := dotsVectors(rowsF32, m-j), kk&^(slots-1)
				if vectors == 0 {
					vectors, whole = 1, 0
				}
				s := acc[(j*n+r*vectors)*slots:][:vectors*slots]
				if whole > 0 {
					dotsUnits(rowsF32, &dotsArgs{acc: &s[0], w: (*byte)(unsafe.Pointer(&row[0])), rows: 1,
						x: &x[j*ldx+l], ldx: ldx, m: vectors, units: whole / slots})
				}
				for v := range vectors {
					addSlots(s[v*slots:], row[whole:], x[(j+v)*ldx+l+whole:])
				}
				j += vectors
			}
		}
	}
}

// restDots multiplies the elements behind the last whole unit, fewer than 32.
func (w *storedRows) restDots(acc []float32, i, n int, x []float32, ldx, m, l, rest int) {
	var buf [slots]float32
	for r := range n {
		row := buf[:rest]
		w.decode(row, i+r, l)
		for j := 0; j < m; {
			vectors := dotsVectors(w.format, m-j)
			for v := range vectors {
				addSlots(acc[(j*n+r*vectors+v)*slots:], row, x[(j+v)*ldx+l:])
			}
			j += vectors
		}
	}
}

// addSlots adds products to their slots.
func addSlots(acc, w, x []float32) {
	acc, x = acc[:slots], x[:len(w)]
	for l, v := range w {
		acc[l%slots] += float32(v * x[l])
	}
}

// decode decodes elements of row i from l on.
func (w *storedRows) decode(dst []float32, i, l int) {
	part := w.w[w.format.at(i*w.ld+l):]
	switch w.format {
	case rowsF32:
		copy(dst, unsafe.Slice((*float32)(unsafe.Pointer(&part[0])), len(part)/4))
	case rowsBF16:
		DecodeBF16(dst, part)
	case rowsF16:
		DecodeF16(dst, part)
	case rowsQ8_0:
		DecodeQ8_0(dst, part)
	case rowsQ4_0:
		DecodeQ4_0(dst, part)
	case rowsQ4_1:
		DecodeQ4_1(dst, part)
	case rowsIQ4_NL:
		DecodeIQ4_NL(dst, part)
	case rowsQ4_K:
		DecodeQ4_K(dst, part)
	case rowsQ6_K:
		DecodeQ6_K(dst, part)
	}
}

// foldSlots adds up the slots that kernels of a format have filled; sums may be the
// beginning of acc.
func foldSlots(f rowFormat, sums, acc []float32) {
	switch {
	case f == rowsNF4:
		foldNF4(&sums[0], &acc[0], len(sums))
	case useVec:
		fold(&sums[0], &acc[0], len(sums))
	default:
		for i := range sums {
			s := acc[i*slots:][:slots]
			for n := slots / 2; n > 0; n /= 2 {
				for j := range n {
					s[j] += s[j+n]
				}
			}
			sums[i] = s[0]
		}
	}
}

// RowDots multiplies the rows of a matrix by one vector, reading the matrix
// once: the product of a decoded token.
//
//	for i := range dst {
//		dst[i] = dot(w[i*ld:][:len(x)], x)
//	}
func RowDots(dst, w []float32, ld int, x []float32) {
	RowDotsMulti(dst, len(dst), w, ld, len(dst), x, len(x), 1, len(x))
}

// RowDotsMulti multiplies the rows of w by m vectors, with w coming from memory
// once:
//
//	for j := range m {
//		for i := range rows {
//			dst[j*ldd+i] = dot(w[i*ld:][:k], x[j*ldx:][:k])
//		}
//	}
//
// It is meant for m up to 8. How an element is summed does not depend on rows
// or m; nor, from k = 64 on, on the type in which w is stored: what RowDotsBF16 and
// the others give is, bit for bit, what this gives with w decoded.
func RowDotsMulti(dst []float32, ldd int, w []float32, ld, rows int, x []float32, ldx, m, k int) {
	if rows == 0 || m == 0 {
		return
	}
	w = w[:(rows-1)*ld+k]
	if k < shortRow {
		shortDots(dst, ldd, w, ld, rows, x, ldx, m, k)
		return
	}
	s := storedRows{format: rowsF32, w: unsafe.Slice((*byte)(unsafe.Pointer(&w[0])), 4*len(w)), ld: ld}
	s.dots(dst, ldd, rows, x, ldx, m, k)
}

// shortDots is RowDotsMulti for short rows: adding up slots would take longer than
// filling them.
func shortDots(dst []float32, ldd int, w []float32, ld, rows int, x []float32, ldx, m, k int) {
	_, _ = dst[(m-1)*ldd+rows-1], x[:(m-1)*ldx+k]
	whole := k &^ (lanes - 1)
	if !useVec || whole == 0 {
		for j := range m {
			for i := range rows {
				dst[j*ldd+i] = Dot(w[i*ld:][:k], x[j*ldx:][:k])
			}
		}
		return
	}
	for i := 0; i < rows; {
		n := 1
		if rows-i >= 4 {
			n = 4
		}
		for j := 0; j < m; j += 3 {
			shortKernel(n, min(m-j, 3), &dst[j*ldd+i], ldd, &w[i*ld], ld, &x[j*ldx], ldx, whole)
		}
		i += n
	}
	if whole == k {
		return
	}
	for j := range m {
		xj := x[j*ldx+whole : j*ldx+k]
		for i := range rows {
			s := dst[j*ldd+i]
			for l, v := range w[i*ld+whole : i*ld+k] {
				s += float32(v * xj[l])
			}
			dst[j*ldd+i] = s
		}
	}
}

// shortKernel runs the kernel for 4 or 1 rows and 1 to 3 vectors.
func shortKernel(rows, xs int, dst *float32, ldd int, w *float32, ld int, x *float32, ldx, k int) {
	switch 4*rows + xs {
	case 17:
		dots4x1(dst, ldd, w, ld, x, ldx, k)
	case 18:
		dots4x2(dst, ldd, w, ld, x, ldx, k)
	case 19:
		dots4x3(dst, ldd, w, ld, x, ldx, k)
	case 5:
		dots1x1(dst, ldd, w, ld, x, ldx, k)
	case 6:
		dots1x2(dst, ldd, w, ld, x, ldx, k)
	case 7:
		dots1x3(dst, ldd, w, ld, x, ldx, k)
	}
}

// RowDotsBF16 is RowDotsMulti on rows of little-endian bfloat16.
func RowDotsBF16(dst []float32, ldd int, w []byte, ld, rows int, x []float32, ldx, m, k int) {
	s := storedRows{format: rowsBF16, w: w, ld: ld}
	s.dots(dst, ldd, rows, x, ldx, m, k)
}

// RowDotsF16 is RowDotsMulti on rows of little-endian IEEE 754 half precision.
func RowDotsF16(dst []float32, ldd int, w []byte, ld, rows int, x []float32, ldx, m, k int) {
	s := storedRows{format: rowsF16, w: w, ld: ld}
	s.dots(dst, ldd, rows, x, ldx, m, k)
}

// RowDotsQ8_0 is RowDotsMulti on rows of GGUF's Q8_0; ld and k are whole blocks.
func RowDotsQ8_0(dst []float32, ldd int, w []byte, ld, rows int, x []float32, ldx, m, k int) {
	s := storedRows{format: rowsQ8_0, w: w, ld: ld}
	s.dots(dst, ldd, rows, x, ldx, m, k)
}

// RowDotsQ4_0 is RowDotsMulti on rows of GGUF's Q4_0; ld and k are whole blocks.
func RowDotsQ4_0(dst []float32, ldd int, w []byte, ld, rows int, x []float32, ldx, m, k int) {
	s := storedRows{format: rowsQ4_0, w: w, ld: ld}
	s.dots(dst, ldd, rows, x, ldx, m, k)
}

// RowDotsQ4_1 is RowDotsMulti on rows of GGUF's Q4_1; ld and k are whole blocks.
func RowDotsQ4_1(dst []float32, ldd int, w []byte, ld, rows int, x []float32, ldx, m, k int) {
	s := storedRows{format: rowsQ4_1, w: w, ld: ld}
	s.dots(dst, ldd, rows, x, ldx, m, k)
}

// RowDotsIQ4_NL is RowDotsMulti on rows of GGUF's IQ4_NL; ld and k are whole blocks.
func RowDotsIQ4_NL(dst []float32, ldd int, w []byte, ld, rows int, x []float32, ldx, m, k int) {
	s := storedRows{format: rowsIQ4_NL, w: w, ld: ld}
	s.dots(dst, ldd, rows, x, ldx, m, k)
}

// RowDotsQ4_K is RowDotsMulti on rows of GGUF's Q4_K; ld and k are whole blocks.
func RowDotsQ4_K(dst []float32, ldd int, w []byte, ld, rows int, x []float32, ldx, m, k int) {
	s := storedRows{format: rowsQ4_K, w: w, ld: ld}
	s.dots(dst, ldd, rows, x, ldx, m, k)
}

// RowDotsQ6_K is RowDotsMulti on rows of GGUF's Q6_K; ld and k are whole blocks.
func RowDotsQ6_K(dst []float32, ldd int, w []byte, ld, rows int, x []float32, ldx, m, k int) {
	s := storedRows{format: rowsQ6_K, w: w, ld: ld}
	s.dots(dst, ldd, rows, x, ldx, m, k)
}

// HasRowDotsNF4 reports whether RowDotsNF4 has a kernel for m vectors of k elements
// and blocks of so many: otherwise rows are decoded for RowDotsMulti, with the same
// result.
func HasRowDotsNF4(m, k, block int) bool {
	return dotsVectors(rowsNF4, m) > 0 && k >= shortRow && k%32 == 0 && block >= 32 && block&(block-1) == 0
}

// RowDotsNF4 is RowDotsMulti on rows of 4-bit codes packed as DecodeNF4 wants them,
// NF4 or FP4. Codes and scales begin with a block; the rows, k elements each, follow
// each other from element first of them on. The vectors come from SplitNF4. It panics
// unless HasRowDotsNF4.
func RowDotsNF4(dst []float32, ldd int, codes []byte, absmax []float32, block int, c *Codebook, first, rows int, split []float32, ldx, m, k int) {
	if !HasRowDotsNF4(m, k, block) || first%32 != 0 {
		panic("asm: RowDotsNF4 without a kernel")
	}
	s := storedRows{format: rowsNF4, w: codes[first/2:], ld: k, absmax: absmax, block: block, first: first, table: &c.Values}
	s.dots(dst, ldd, rows, split, ldx, m, k)
}

// SplitNF4 writes x, whole groups of 32 elements, to dst in the order in which the
// kernels of RowDotsNF4 meet the elements: of a group, even elements and odd ones
// apart, each in order, 4 or 16 at a time.
func SplitNF4(dst, x []float32) {
	run := 4
	if use512 {
		run = 16
	}
	for l := 0; l < len(x); l += 32 {
		from, to := x[l:][:32], dst[l:][:32]
		for i := range 16 {
			at := i/run*2*run + i%run
			to[at], to[at+run] = from[2*i], from[2*i+1]
		}
	}
}
