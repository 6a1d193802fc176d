package main

import (
	"fmt"
	"math"
	"strings"
)

// An asm writes the assembly of one kernel for one architecture. Vectors are
// registers V0..V15 on both: YMM with 8 lanes on amd64, 4 lanes on arm64, where
// V16..V31 hold constants. An operand is a vector register or, as the last one,
// a constant.
type asm struct {
	arm    bool
	k      *kernel
	out    strings.Builder
	consts []uint32
	ptr    map[string]string // slice argument: its pointer register
	scalar map[string]op
	pinned map[uint32]op // constants in registers (amd64)
	next   int           // pinned registers are taken from 15 downward
	unroll int
	labels int
}

type op string

var (
	amd64Regs = []string{"AX", "BX", "CX", "DX", "SI", "DI", "R8", "R9", "R10", "R11", "R12", "R13"}
	arm64Regs = []string{"R0", "R1", "R2", "R3", "R4", "R5", "R6", "R7", "R8", "R9", "R10", "R11", "R12", "R13"}
)

func (a *asm) p(format string, args ...any) { fmt.Fprintf(&a.out, "\t"+format+"\n", args...) }
func (a *asm) label(format string, args ...any) {
	fmt.Fprintf(&a.out, format+":\n", args...)
}

func (a *asm) lanes() int {
	if a.arm {
		return 4
	}
	return 8
}

// v is vector register n.
func (a *asm) v(n int) op {
	if a.arm {
		return op(fmt.Sprintf("V%d", n))
	}
	return op(fmt.Sprintf("Y%d", n))
}

func num(o op) int {
	n := 0
	fmt.Sscanf(strings.TrimLeft(string(o), "VYXF"), "%d", &n)
	return n
}

// bits is a constant operand; f the same for a float.
func (a *asm) bits(b uint32) op {
	if r, ok := a.pinned[b]; ok {
		return r
	}
	i := -1
	for j, c := range a.consts {
		if c == b {
			i = j
		}
	}
	if i < 0 {
		i = len(a.consts)
		a.consts = append(a.consts, b)
	}
	if a.arm {
		if i > 15 {
			panic(a.k.name + ": more than 16 constants")
		}
		return a.v(16 + i)
	}
	return op(fmt.Sprintf("%sK<>+%d(SB)", a.k.name, 32*i))
}
func (a *asm) f(x float64) op { return a.bits(math.Float32bits(float32(x))) }

// pin keeps a constant in a register where an instruction wants it as its first
// operand.
func (a *asm) pin(x float64) op { return a.pinBits(math.Float32bits(float32(x))) }
func (a *asm) pinBits(b uint32) op {
	if a.arm {
		return a.bits(b)
	}
	if r, ok := a.pinned[b]; ok {
		return r
	}
	m := a.bits(b)
	r := a.v(a.next)
	a.next--
	a.p("VMOVUPS %s, %s", m, r)
	a.pinned[b] = r
	return r
}

// word emits an instruction that the assembler does not know.
func (a *asm) word(w uint32, format string, args ...any) {
	a.p("WORD $0x%08x // "+format, append([]any{w}, args...)...)
}

func (a *asm) three(amd string, arm uint32, mnemonic string, d, x, y op) {
	if !a.arm {
		a.p("%s %s, %s, %s", amd, y, x, d)
		return
	}
	a.word(arm|uint32(num(y)<<16|num(x)<<5|num(d)), "%s v%d.4s, v%d.4s, v%d.4s", mnemonic, num(d), num(x), num(y))
}

func (a *asm) add(d, x, y op) { a.three("VADDPS", 0x4E20D400, "fadd", d, x, y) }
func (a *asm) sub(d, x, y op) { a.three("VSUBPS", 0x4EA0D400, "fsub", d, x, y) }
func (a *asm) mul(d, x, y op) { a.three("VMULPS", 0x6E20DC00, "fmul", d, x, y) }
func (a *asm) div(d, x, y op) { a.three("VDIVPS", 0x6E20FC00, "fdiv", d, x, y) }

// max and min give y if it is NaN; x is not.
func (a *asm) max(d, x, y op) { a.three("VMAXPS", 0x4E20F400, "fmax", d, x, y) }
func (a *asm) min(d, x, y op) { a.three("VMINPS", 0x4EA0F400, "fmin", d, x, y) }

func (a *asm) two(amd string, arm uint32, mnemonic string, d, x op) {
	if !a.arm {
		a.p("%s %s, %s", amd, x, d)
		return
	}
	a.word(arm|uint32(num(x)<<5|num(d)), "%s v%d.4s, v%d.4s", mnemonic, num(d), num(x))
}

func (a *asm) sqrt(d, x op)  { a.two("VSQRTPS", 0x6EA1F800, "fsqrt", d, x) }
func (a *asm) round(d, x op) { a.two("VROUNDPS $8,", 0x4E218800, "frintn", d, x) }
func (a *asm) toInt(d, x op) { a.two("VCVTPS2DQ", 0x4EA1B800, "fcvtzs", d, x) } // of a rounded x

// fma is d += x*y, fms is d -= x*y.
func (a *asm) fma(d, x, y op) {
	if a.arm {
		a.p("VFMLA %s.S4, %s.S4, %s.S4", y, x, d)
		return
	}
	a.p("VFMADD231PS %s, %s, %s", y, x, d)
}
func (a *asm) fms(d, x, y op) {
	if a.arm {
		a.p("VFMLS %s.S4, %s.S4, %s.S4", y, x, d)
		return
	}
	a.p("VFNMADD231PS %s, %s, %s", y, x, d)
}

// horner returns p*x + c in p, or in spare on arm64.
func (a *asm) horner(p, x, c, spare op) (result, free op) {
	if !a.arm {
		a.p("VFMADD213PS %s, %s, %s", c, x, p)
		return p, spare
	}
	a.mov(spare, c)
	a.fma(spare, p, x)
	return spare, p
}

func (a *asm) mov(d, x op) {
	if a.arm {
		a.p("VORR %s.B16, %s.B16, %s.B16", x, x, d)
		return
	}
	a.p("VMOVAPS %s, %s", x, d)
}

// Integer operations on 32-bit lanes, and bitwise ones.
func (a *asm) iadd(d, x, y op) {
	if a.arm {
		a.p("VADD %s.S4, %s.S4, %s.S4", y, x, d)
		return
	}
	a.p("VPADDD %s, %s, %s", y, x, d)
}
func (a *asm) isub(d, x, y op) {
	if a.arm {
		a.p("VSUB %s.S4, %s.S4, %s.S4", y, x, d)
		return
	}
	a.p("VPSUBD %s, %s, %s", y, x, d)
}
func (a *asm) sra(d, x op, n int) {
	if a.arm {
		a.word(0x4F000400|uint32((64-n)<<16|num(x)<<5|num(d)), "sshr v%d.4s, v%d.4s, #%d", num(d), num(x), n)
		return
	}
	a.p("VPSRAD $%d, %s, %s", n, x, d)
}
func (a *asm) shl(d, x op, n int) {
	if a.arm {
		a.p("VSHL $%d, %s.S4, %s.S4", n, x, d)
		return
	}
	a.p("VPSLLD $%d, %s, %s", n, x, d)
}
func (a *asm) shr(d, x op, n int) {
	if a.arm {
		a.p("VUSHR $%d, %s.S4, %s.S4", n, x, d)
		return
	}
	a.p("VPSRLD $%d, %s, %s", n, x, d)
}
func (a *asm) and(d, x, y op) { a.bitwise("VAND", "VPAND", d, x, y) }
func (a *asm) or(d, x, y op)  { a.bitwise("VORR", "VPOR", d, x, y) }
func (a *asm) xor(d, x, y op) { a.bitwise("VEOR", "VPXOR", d, x, y) }
func (a *asm) bitwise(arm, amd string, d, x, y op) {
	if a.arm {
		a.p("%s %s.B16, %s.B16, %s.B16", arm, y, x, d)
		return
	}
	a.p("%s %s, %s, %s", amd, y, x, d)
}
func (a *asm) zero(d op) { a.xor(d, d, d) }

// nan sets d to ones in the lanes where x is NaN.
func (a *asm) nan(d, x op) {
	if a.arm { // x == x, negated by the caller's order: d = ^(x == x)
		a.word(0x4E20E400|uint32(num(x)<<16|num(x)<<5|num(d)), "fcmeq v%d.4s, v%d.4s, v%d.4s", num(d), num(x), num(x))
		a.word(0x6E205800|uint32(num(d)<<5|num(d)), "mvn v%d.16b, v%d.16b", num(d), num(d))
		return
	}
	a.p("VCMPPS $3, %s, %s, %s", x, x, d)
}

// sel is d = mask ? x : d.
func (a *asm) sel(d, x, mask op) {
	if a.arm {
		a.p("VBIT %s.B16, %s.B16, %s.B16", mask, x, d)
		return
	}
	a.p("VBLENDVPS %s, %s, %s, %s", mask, x, d, d)
}

// ld and st access vector u of the block that the loop is at.
func (a *asm) ld(d op, arg string, u int) {
	if a.arm {
		a.p("FMOVQ %d(%s), F%d", 16*u, a.ptr[arg], num(d))
		return
	}
	a.p("VMOVUPS %d(%s), %s", 32*u, a.ptr[arg], d)
}
func (a *asm) st(s op, arg string, u int) {
	if a.arm {
		a.p("FMOVQ F%d, %d(%s)", num(s), 16*u, a.ptr[arg])
		return
	}
	a.p("VMOVUPS %s, %d(%s)", s, 32*u, a.ptr[arg])
}

// reduce leaves the sum (or another operation) of the lanes of d in lane 0.
func (a *asm) reduce(name string, d, t op) {
	if a.arm {
		switch name {
		case "add":
			for range 2 {
				a.word(0x6E20D400|uint32(num(d)<<16|num(d)<<5|num(d)), "faddp v%d.4s, v%d.4s, v%d.4s", num(d), num(d), num(d))
			}
		case "max":
			a.word(0x6E30F800|uint32(num(d)<<5|num(d)), "fmaxv s%d, v%d.4s", num(d), num(d))
		}
		return
	}
	ins := map[string]string{"add": "VADDPS", "max": "VMAXPS", "or": "VORPS"}[name]
	xd, xt := "X"+string(d[1:]), "X"+string(t[1:])
	a.p("VEXTRACTF128 $1, %s, %s", d, xt)
	a.p("%s %s, %s, %s", ins, xt, xd, xd)
	a.p("VPERMILPS $0xEE, %s, %s", xd, xt)
	a.p("%s %s, %s, %s", ins, xt, xd, xd)
	a.p("VPERMILPS $0x55, %s, %s", xd, xt)
	a.p("%s %s, %s, %s", ins, xt, xd, xd)
}

func (a *asm) ret(d op) {
	if a.arm {
		a.p("FMOVS F%d, ret+%d(FP)", num(d), a.k.retOffset())
		return
	}
	a.p("VMOVSS X%d, ret+%d(FP)", num(d), a.k.retOffset())
}

// loop runs body over the length of the first slice: blocks of unroll vectors,
// then single vectors. body sees the vector's place in the block as u.
func (a *asm) loop(unroll int, body func(u int)) {
	first := a.k.args[0]
	n := amd64Regs[len(a.ptr)]
	if a.arm {
		n = arm64Regs[len(a.ptr)]
		a.p("MOVD %s_len+8(FP), %s", first.name, n)
	} else {
		a.p("MOVQ %s_len+8(FP), %s", first.name, n)
	}
	if first.kind == bytes {
		panic("the first slice counts elements")
	}
	emit := func(label string, vectors int) {
		count := vectors * a.lanes()
		a.label("%s", label)
		if a.arm {
			a.p("CMP $%d, %s", count, n)
			a.p("BLT %sdone", label)
		} else {
			a.p("CMPQ %s, $%d", n, count)
			a.p("JLT %sdone", label)
		}
		for u := range vectors {
			body(u)
		}
		for _, arg := range a.k.args {
			if r, ok := a.ptr[arg.name]; ok {
				size := 4 * count
				if arg.kind == bytes {
					size = 2 * count
				}
				if a.arm {
					a.p("ADD $%d, %s", size, r)
				} else {
					a.p("ADDQ $%d, %s", size, r)
				}
			}
		}
		if a.arm {
			a.p("SUB $%d, %s", count, n)
			a.p("B %s", label)
		} else {
			a.p("SUBQ $%d, %s", count, n)
			a.p("JMP %s", label)
		}
		a.label("%sdone", label)
	}
	if unroll > 1 {
		emit("block", unroll)
	}
	emit("single", 1)
}

type kind int

const (
	floats kind = iota // []float32
	bytes              // []byte holding 16-bit elements
	scalar             // float32
)

type arg struct {
	name string
	kind kind
}

type kernel struct {
	name   string
	doc    string
	args   []arg
	result bool
	body   func(a *asm)
}

func (k *kernel) offsets() (at []int, size int) {
	for _, x := range k.args {
		if x.kind == scalar {
			at = append(at, size)
			size += 4
			continue
		}
		size = (size + 7) &^ 7
		at = append(at, size)
		size += 24
	}
	return at, size
}
func (k *kernel) retOffset() int { _, n := k.offsets(); return (n + 7) &^ 7 }
func (k *kernel) frame() int {
	if k.result {
		return k.retOffset() + 4
	}
	_, n := k.offsets()
	return n
}

func (k *kernel) emit(arm bool) string {
	run := func(consts []uint32) *asm {
		a := &asm{arm: arm, k: k, ptr: map[string]string{}, scalar: map[string]op{}, pinned: map[uint32]op{}, next: 15, consts: consts}
		at, _ := k.offsets()
		regs, move := amd64Regs, "MOVQ"
		if arm {
			regs, move = arm64Regs, "MOVD"
		}
		for i, x := range k.args {
			if x.kind == scalar {
				continue
			}
			r := regs[len(a.ptr)]
			a.ptr[x.name] = r
			a.p("%s %s_base+%d(FP), %s", move, x.name, at[i], r)
		}
		for i, x := range k.args {
			if x.kind != scalar {
				continue
			}
			v := a.v(a.next)
			a.next--
			a.scalar[x.name] = v
			if arm {
				a.p("MOVWU %s+%d(FP), R15", x.name, at[i])
				a.p("VDUP R15, %s.S4", v)
			} else {
				a.p("VBROADCASTSS %s+%d(FP), %s", x.name, at[i], v)
			}
		}
		if arm && len(consts) > 0 {
			a.p("MOVD $%sK<>(SB), R15", k.name)
			for i := range consts {
				a.p("VLD1R.P 4(R15), [V%d.S4]", 16+i)
			}
		}
		k.body(a)
		if !arm {
			a.p("VZEROUPPER")
		}
		a.p("RET")
		return a
	}
	a := run(nil) // the first run finds the constants
	if len(a.consts) > 0 {
		a = run(a.consts)
	}
	var out strings.Builder
	repeat, step := 8, 32
	if arm {
		repeat, step = 1, 4
	}
	for i, c := range a.consts {
		for j := range repeat {
			fmt.Fprintf(&out, "DATA %sK<>+%d(SB)/4, $0x%08x\n", k.name, step*i+4*j, c)
		}
	}
	if n := len(a.consts); n > 0 {
		fmt.Fprintf(&out, "GLOBL %sK<>(SB), RODATA|NOPTR, $%d\n\n", k.name, step*n)
	}
	var sig []string
	for _, x := range k.args {
		sig = append(sig, x.name)
	}
	fmt.Fprintf(&out, "// func %s\nTEXT ·%s(SB), NOSPLIT, $0-%d\n%s\n", k.signature(), k.name, k.frame(), a.out.String())
	return out.String()
}

func (k *kernel) signature() string {
	var out strings.Builder
	out.WriteString(k.name + "(")
	for i, x := range k.args {
		if i > 0 {
			out.WriteString(", ")
		}
		out.WriteString(x.name)
		if i+1 == len(k.args) || k.args[i+1].kind != x.kind {
			out.WriteString(map[kind]string{floats: " []float32", bytes: " []byte", scalar: " float32"}[x.kind])
		}
	}
	out.WriteString(")")
	if k.result {
		out.WriteString(" float32")
	}
	return out.String()
}
