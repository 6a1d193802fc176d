package main

func args(s string) []arg { // "dst x y" or "dst x; a m": slices; scalars
	var out []arg
	kind := floats
	word := ""
	flush := func() {
		if word != "" {
			out = append(out, arg{word, kind})
			word = ""
		}
	}
	for _, c := range s {
		switch c {
		case ' ':
			flush()
		case ';':
			flush()
			kind = scalar
		default:
			word += string(c)
		}
	}
	flush()
	return out
}

// binary is dst = f(x, y), four vectors at a time.
func binary(name, loop string, f func(a *asm, d, x, y op)) *kernel {
	return &kernel{name: name, doc: loop, args: args("dst x y"), body: func(a *asm) {
		a.loop(4, func(u int) {
			x, y := a.v(2*u), a.v(2*u+1)
			a.ld(x, "x", u)
			a.ld(y, "y", u)
			f(a, x, x, y)
			a.st(x, "dst", u)
		})
	}}
}

// sum is the sum of f over vectors: four partial vectors, then their sum.
func sum(name, loop, in string, f func(a *asm, acc op, t [3]op, u int)) *kernel {
	return &kernel{name: name, doc: loop, args: args(in), result: true, body: func(a *asm) {
		for u := range 4 {
			a.zero(a.v(u))
		}
		a.loop(4, func(u int) {
			f(a, a.v(u), [3]op{a.v(4 + 2*u), a.v(5 + 2*u), a.v(12)}, u)
		})
		a.add(a.v(0), a.v(0), a.v(1))
		a.add(a.v(2), a.v(2), a.v(3))
		a.add(a.v(0), a.v(0), a.v(2))
		a.reduce("add", a.v(0), a.v(1))
		a.ret(a.v(0))
	}}
}

// exp replaces x by exp(x), using t. exp(x) = 2^n·exp(r) with n = round(x/ln 2)
// and r = x - n·ln 2 in two steps; exp(r) = 1 + r + r²·P(r) (the polynomial of
// Cephes' expf); and 2^n as a product of two powers, so that denormal results
// are rounded once and overflow gives Inf. NaN passes through the comparisons,
// which return their second operand.
func exp(a *asm, x op, t [4]op) {
	lo, hi := a.pin(-104.5), a.pin(89)
	a.max(x, lo, x)
	a.min(x, hi, x)
	n, p, free := t[0], t[1], t[2]
	a.mul(n, x, a.f(1.44269504088896341))
	a.round(n, n)
	a.fms(x, n, a.f(0.693359375))
	a.fms(x, n, a.f(-2.12194440e-4))
	a.toInt(n, n)
	a.mov(p, a.f(1.9875691500e-4))
	for _, c := range []float64{1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1} {
		p, free = a.horner(p, x, a.f(c), free)
	}
	a.mul(free, x, x)
	a.fma(x, p, free)
	a.add(x, x, a.f(1))
	a.sra(p, n, 1)
	a.isub(n, n, p)
	for _, e := range []op{p, n} {
		a.iadd(e, e, a.bits(127))
		a.shl(e, e, 23)
		a.mul(x, x, e)
	}
}

// onePlusExpNeg is t[0] = 1 + exp(-x).
func onePlusExpNeg(a *asm, x op, t [5]op) op {
	a.xor(t[0], x, a.bits(0x80000000))
	exp(a, t[0], [4]op(t[1:]))
	a.add(t[0], t[0], a.f(1))
	return t[0]
}

func elementwise() []*kernel {
	regs := func(a *asm, from, n int) (r [8]op) {
		for i := range n {
			r[i] = a.v(from + i)
		}
		return r
	}
	return []*kernel{
		binary("addVec", "dst[i] = x[i] + y[i]", (*asm).add),
		binary("subVec", "dst[i] = x[i] - y[i]", (*asm).sub),
		binary("mulVec", "dst[i] = x[i] * y[i]", (*asm).mul),
		binary("divVec", "dst[i] = x[i] / y[i]", (*asm).div),
		{name: "scaleVec", doc: "dst[i] = a * x[i]", args: args("dst x; a"), body: func(a *asm) {
			a.loop(4, func(u int) {
				a.ld(a.v(u), "x", u)
				a.mul(a.v(u), a.v(u), a.scalar["a"])
				a.st(a.v(u), "dst", u)
			})
		}},
		{name: "addScaledVec", doc: "dst[i] += a * x[i]", args: args("dst x; a"), body: func(a *asm) {
			a.loop(4, func(u int) {
				x, d := a.v(2*u), a.v(2*u+1)
				a.ld(x, "x", u)
				a.ld(d, "dst", u)
				a.fma(d, x, a.scalar["a"])
				a.st(d, "dst", u)
			})
		}},
		{name: "mulAddScaledVec", doc: "dst[i] += a * x[i] * y[i]", args: args("dst x y; a"), body: func(a *asm) {
			a.loop(4, func(u int) {
				x, y, d := a.v(3*u), a.v(3*u+1), a.v(3*u+2)
				a.ld(x, "x", u)
				a.ld(y, "y", u)
				a.ld(d, "dst", u)
				a.mul(x, x, a.scalar["a"])
				a.fma(d, x, y)
				a.st(d, "dst", u)
			})
		}},
		{name: "mulScaledVec", doc: "dst[i] = a * x[i] * y[i]", args: args("dst x y; a"), body: func(a *asm) {
			a.loop(4, func(u int) {
				x, y := a.v(2*u), a.v(2*u+1)
				a.ld(x, "x", u)
				a.ld(y, "y", u)
				a.mul(x, x, a.scalar["a"])
				a.mul(x, x, y)
				a.st(x, "dst", u)
			})
		}},
		sum("sumVec", "ret += x[i]", "x", func(a *asm, acc op, t [3]op, u int) {
			a.ld(t[0], "x", u)
			a.add(acc, acc, t[0])
		}),
		sum("dotVec", "ret += x[i] * y[i]", "x y", func(a *asm, acc op, t [3]op, u int) {
			a.ld(t[0], "x", u)
			a.ld(t[1], "y", u)
			a.fma(acc, t[0], t[1])
		}),
		sum("dot3Vec", "ret += x[i] * y[i] * z[i]", "x y z", func(a *asm, acc op, t [3]op, u int) {
			a.ld(t[0], "x", u)
			a.ld(t[1], "y", u)
			a.ld(t[2], "z", u)
			a.mul(t[0], t[0], t[1])
			a.fma(acc, t[0], t[2])
		}),
		{name: "maxVec", doc: "ret = max(ret, x[i]) // NaN if there is one", args: args("x"), result: true, body: func(a *asm) {
			inf := a.bits(0xff800000)
			for u := range 4 {
				a.mov(a.v(u), inf)
			}
			if !a.arm { // VMAXPS forgets a NaN: they are collected beside
				a.zero(a.v(8))
			}
			a.loop(4, func(u int) {
				x := a.v(4 + u)
				a.ld(x, "x", u)
				a.max(a.v(u), a.v(u), x)
				if !a.arm {
					a.nan(x, x)
					a.or(a.v(8), a.v(8), x)
				}
			})
			a.max(a.v(0), a.v(0), a.v(1))
			a.max(a.v(2), a.v(2), a.v(3))
			a.max(a.v(0), a.v(0), a.v(2))
			a.reduce("max", a.v(0), a.v(1))
			if !a.arm {
				a.reduce("or", a.v(8), a.v(1))
				a.or(a.v(0), a.v(0), a.v(8))
			}
			a.ret(a.v(0))
		}},
		{name: "expVec", doc: "dst[i] = exp(x[i])", args: args("dst x"), body: func(a *asm) {
			a.pin(-104.5)
			a.pin(89)
			a.loop(2, func(u int) {
				r := regs(a, 5*u, 5)
				a.ld(r[0], "x", u)
				exp(a, r[0], [4]op(r[1:]))
				a.st(r[0], "dst", u)
			})
		}},
		{name: "expSubSumVec", doc: "dst[i] = exp(x[i] - m)\nret += dst[i]", args: args("dst x; m"), result: true, body: func(a *asm) {
			a.pin(-104.5)
			a.pin(89)
			a.zero(a.v(10))
			a.zero(a.v(11))
			a.loop(2, func(u int) {
				r := regs(a, 5*u, 5)
				a.ld(r[0], "x", u)
				a.sub(r[0], r[0], a.scalar["m"])
				exp(a, r[0], [4]op(r[1:]))
				a.st(r[0], "dst", u)
				a.add(a.v(10+u), a.v(10+u), r[0])
			})
			a.add(a.v(10), a.v(10), a.v(11))
			a.reduce("add", a.v(10), a.v(11))
			a.ret(a.v(10))
		}},
		{name: "attentionGradVec", doc: "p[i] = exp(p[i] - lse[i])\nds[i] = p[i] * (ds[i] - delta[i])", args: args("p ds lse delta"), body: func(a *asm) {
			a.pin(-104.5)
			a.pin(89)
			a.loop(2, func(u int) {
				r := regs(a, 5*u, 5)
				a.ld(r[0], "p", u)
				a.ld(r[1], "lse", u)
				a.sub(r[0], r[0], r[1])
				exp(a, r[0], [4]op(r[1:]))
				a.st(r[0], "p", u)
				a.ld(r[1], "ds", u)
				a.ld(r[2], "delta", u)
				a.sub(r[1], r[1], r[2])
				a.mul(r[1], r[1], r[0])
				a.st(r[1], "ds", u)
			})
		}},
		{name: "siluVec", doc: "dst[i] = x[i] / (1 + exp(-x[i]))", args: args("dst x"), body: func(a *asm) {
			a.pin(-104.5)
			a.pin(89)
			a.loop(2, func(u int) {
				r := regs(a, 6*u, 6)
				a.ld(r[0], "x", u)
				e := onePlusExpNeg(a, r[0], [5]op(r[1:]))
				a.div(r[0], r[0], e)
				a.st(r[0], "dst", u)
			})
		}},
		{name: "swigluVec", doc: "dst[i] = gate[i] / (1 + exp(-gate[i])) * up[i]", args: args("dst gate up"), body: func(a *asm) {
			a.pin(-104.5)
			a.pin(89)
			a.loop(2, func(u int) {
				r := regs(a, 6*u, 6)
				a.ld(r[0], "gate", u)
				e := onePlusExpNeg(a, r[0], [5]op(r[1:]))
				a.div(r[0], r[0], e)
				a.ld(r[2], "up", u)
				a.mul(r[0], r[0], r[2])
				a.st(r[0], "dst", u)
			})
		}},
		{name: "swigluGradVec", doc: "sigma := 1 / (1 + exp(-gate[i]))\ndgate[i], dup[i] = dz[i]*up[i]*sigma*(1+gate[i]*(1-sigma)), dz[i]*gate[i]*sigma", args: args("dgate dup dz gate up"), body: func(a *asm) {
			a.pin(-104.5)
			a.pin(89)
			one := a.pin(1)
			a.loop(1, func(u int) {
				r := regs(a, 0, 6)
				g, dz, up, s := r[0], a.v(6), a.v(7), a.v(8)
				a.ld(g, "gate", u)
				a.ld(dz, "dz", u)
				a.ld(up, "up", u)
				e := onePlusExpNeg(a, g, [5]op(r[1:]))
				a.div(s, one, e) // sigma
				a.mul(up, up, dz)
				a.mul(up, up, s)
				a.mul(dz, dz, g)
				a.mul(dz, dz, s)
				a.sub(s, one, s)
				a.mov(e, one)
				a.fma(e, g, s)
				a.mul(up, up, e)
				a.st(up, "dgate", u)
				a.st(dz, "dup", u)
			})
		}},
		{name: "rmsnormGradVec", doc: "dx[i] = rstd*w[i]*dz[i] - x[i]*c", args: args("dx dz x w; rstd c"), body: func(a *asm) {
			a.loop(4, func(u int) {
				dz, x, w := a.v(3*u), a.v(3*u+1), a.v(3*u+2)
				a.ld(dz, "dz", u)
				a.ld(x, "x", u)
				a.ld(w, "w", u)
				a.mul(w, w, a.scalar["rstd"])
				a.mul(dz, dz, w)
				a.fms(dz, x, a.scalar["c"])
				a.st(dz, "dx", u)
			})
		}},
		{name: "rmsnormGradAddVec", doc: "dx[i] += rstd*w[i]*dz[i] - x[i]*c", args: args("dx dz x w; rstd c"), body: func(a *asm) {
			a.loop(3, func(u int) {
				dz, x, w, d := a.v(4*u), a.v(4*u+1), a.v(4*u+2), a.v(4*u+3)
				a.ld(dz, "dz", u)
				a.ld(x, "x", u)
				a.ld(w, "w", u)
				a.ld(d, "dx", u)
				a.mul(w, w, a.scalar["rstd"])
				a.mul(dz, dz, w)
				a.fms(dz, x, a.scalar["c"])
				a.add(d, d, dz)
				a.st(d, "dx", u)
			})
		}},
		{name: "ropeVec", doc: "d0[i], d1[i] = x0[i]*cos[i]-x1[i]*sin[i]*sign, x1[i]*cos[i]+x0[i]*sin[i]*sign", args: args("d0 d1 x0 x1 cos sin; sign"), body: func(a *asm) {
			a.loop(2, func(u int) {
				x0, x1, c, s, y0, y1 := a.v(6*u), a.v(6*u+1), a.v(6*u+2), a.v(6*u+3), a.v(6*u+4), a.v(6*u+5)
				a.ld(x0, "x0", u)
				a.ld(x1, "x1", u)
				a.ld(c, "cos", u)
				a.ld(s, "sin", u)
				a.mul(s, s, a.scalar["sign"])
				a.mul(y0, x0, c)
				a.fms(y0, x1, s)
				a.mul(y1, x1, c)
				a.fma(y1, x0, s)
				a.st(y0, "d0", u)
				a.st(y1, "d1", u)
			})
		}},
		{name: "adamwVec", doc: "m[i] = fma(w1, g[i]-m[i], m[i])\nv[i] = fma(w2*g[i], g[i], v[i]*b2)\np[i] = p[i]*decay + step*m[i]/(sqrt(v[i])/root+eps)", args: args("p g m v; decay w1 b2 w2 root eps step"), body: func(a *asm) {
			s := a.scalar
			a.loop(1, func(u int) {
				p, g, m, v, t := a.v(0), a.v(1), a.v(2), a.v(3), a.v(4)
				a.ld(g, "g", u)
				a.ld(m, "m", u)
				a.ld(v, "v", u)
				a.ld(p, "p", u)
				a.sub(t, g, m)
				a.fma(m, t, s["w1"])
				a.mul(v, v, s["b2"])
				a.mul(t, g, s["w2"])
				a.fma(v, t, g)
				a.st(m, "m", u)
				a.st(v, "v", u)
				a.sqrt(v, v)
				a.div(v, v, s["root"])
				a.add(v, v, s["eps"])
				a.mul(m, m, s["step"])
				a.div(m, m, v)
				a.mul(p, p, s["decay"])
				a.add(p, p, m)
				a.st(p, "p", u)
			})
		}},
	}
}

// halves are the conversions from and to 16-bit floats.
func halves() []*kernel {
	in := []arg{{"dst", floats}, {"src", bytes}}
	out := []arg{{"src", floats}, {"dst", bytes}}
	return []*kernel{
		{name: "decodeBF16Vec", doc: "dst[i] = bfloat16 at src[2*i]", args: in, body: func(a *asm) {
			a.loop(2, func(u int) {
				v := a.v(u)
				if a.arm {
					a.p("FMOVD %d(%s), F%d", 8*u, a.ptr["src"], num(v))
					a.p("VUSHLL $0, %s.H4, %s.S4", v, v)
				} else {
					a.p("VPMOVZXWD %d(%s), %s", 16*u, a.ptr["src"], v)
				}
				a.shl(v, v, 16)
				a.st(v, "dst", u)
			})
		}},
		{name: "decodeF16Vec", doc: "dst[i] = float16 at src[2*i]", args: in, body: func(a *asm) {
			a.loop(2, func(u int) {
				v := a.v(u)
				if a.arm {
					a.p("FMOVD %d(%s), F%d", 8*u, a.ptr["src"], num(v))
					a.word(0x0E217800|uint32(num(v)<<5|num(v)), "fcvtl v%d.4s, v%d.4h", num(v), num(v))
				} else {
					a.p("VCVTPH2PS %d(%s), %s", 16*u, a.ptr["src"], v)
				}
				a.st(v, "dst", u)
			})
		}},
		{name: "encodeBF16Vec", doc: "bfloat16 at dst[2*i] = src[i], rounded to nearest even", args: out, body: func(a *asm) {
			a.loop(2, func(u int) {
				x, t, n := a.v(3*u), a.v(3*u+1), a.v(3*u+2)
				a.ld(x, "src", u)
				a.nan(n, x)
				a.shr(t, x, 16)
				a.and(t, t, a.bits(1))
				a.iadd(t, t, a.bits(0x7fff))
				a.iadd(t, t, x)
				a.or(x, x, a.bits(1<<22))
				a.sel(t, x, n)
				a.shr(t, t, 16)
				if a.arm {
					a.word(0x0E612800|uint32(num(t)<<5|num(t)), "xtn v%d.4h, v%d.4s", num(t), num(t))
					a.p("FMOVD F%d, %d(%s)", num(t), 8*u, a.ptr["dst"])
				} else {
					a.p("VEXTRACTI128 $1, %s, X%d", t, num(x))
					a.p("VPACKUSDW X%d, X%d, X%d", num(x), num(t), num(t))
					a.p("VMOVUPS X%d, %d(%s)", num(t), 16*u, a.ptr["dst"])
				}
			})
		}},
		{name: "encodeF16Vec", doc: "float16 at dst[2*i] = src[i], rounded to nearest even", args: out, body: func(a *asm) {
			a.loop(2, func(u int) {
				v := a.v(u)
				a.ld(v, "src", u)
				if a.arm {
					a.word(0x0E216800|uint32(num(v)<<5|num(v)), "fcvtn v%d.4h, v%d.4s", num(v), num(v))
					a.p("FMOVD F%d, %d(%s)", num(v), 8*u, a.ptr["dst"])
				} else {
					a.p("VCVTPS2PH $0, %s, X%d", v, num(v))
					a.p("VMOVUPS X%d, %d(%s)", num(v), 16*u, a.ptr["dst"])
				}
			})
		}},
	}
}
