package tensor

import (
	"math"

	"github.com/tenon-ml/tenon/asm"
)

// Attention of a few queries, those of a decoded token above all, over a long
// cache: its keys are cut into pieces of one length, which the workers share, and
// the partial results of the pieces are added in order. So the result depends on
// the shape alone.
const (
	fewQueries = 8
	keyPiece   = 2 * keyBlock
	fewWork    = 1 << 13 // multiplications of a score that are not worth a second worker
)

// fewCall is such an attention in progress, kept for the next one so that a warm
// call allocates nothing.
type fewCall struct {
	s       AttentionShape
	q       []float32
	k, v    matrix
	pieces  int
	part    []float32 // of each task: o [rows, D], m [rows], sum [rows]
	perTask int
	scratch []attnTask             // of each worker
	run     func(task, worker int) // the method, bound once
}

func (c *CPU) takeFew() *fewCall {
	if f := c.few.take(); f != nil {
		return f
	}
	f := &fewCall{scratch: make([]attnTask, c.workers.n)}
	f.run = f.task
	return f
}

func (c *CPU) giveFew(f *fewCall) {
	f.q, f.k, f.v, f.s.Starts = nil, matrix{}, matrix{}, nil
	c.few.give(f)
}

func (c *CPU) attendFew(dst, lse, q, k, v *Tensor, s AttentionShape) {
	f := c.takeFew()
	defer c.giveFew(f)
	g := s.H / s.KV
	rows := g * s.Tq
	f.s, f.q = s, q.F32()
	f.k, f.v = f.s.keys(k), f.s.keys(v)
	f.pieces, f.perTask = ceil(s.Tk, keyPiece), rows*(s.D+2)
	tasks := s.B * s.KV * f.pieces
	f.part = sized(f.part, tasks*f.perTask)
	if s.B*s.H*s.Tq*s.Tk*s.D < fewWork {
		alone(tasks, f.run)
	} else {
		c.workers.Run(tasks, f.run)
	}
	z, l := dst.F32(), lse.F32()
	for group := range s.B * s.KV {
		b, kv := group/s.KV, group%s.KV
		parts := f.part[group*f.pieces*f.perTask:][:f.pieces*f.perTask]
		for r := range rows {
			h, t := kv*g+r/s.Tq, r%s.Tq
			f.combine(z[((b*s.Tq+t)*s.H+h)*s.D:][:s.D], &l[(b*s.H+h)*s.Tq+t], parts, r, rows)
		}
	}
}

func (f *fewCall) task(task, worker int) {
	s, t := &f.s, &f.scratch[worker]
	t.fit(*s)
	group, from := task/f.pieces, task%f.pieces*keyPiece
	b, kv, rows := group/s.KV, group%s.KV, t.g*s.Tq
	t.stack(t.q, f.q, *s, b, kv, 0, s.Tq, s.Scale)
	part := f.part[task*f.perTask:][:f.perTask]
	t.attend(part, &f.k, &f.v, s, b, kv, 0, s.Tq, from, from+keyPiece)
	copy(part[rows*s.D:], t.m[:rows])
	copy(part[rows*(s.D+1):], t.sum[:rows])
}

// combine sets z and lse of row r from the partial results of the pieces.
func (f *fewCall) combine(z []float32, lse *float32, parts []float32, r, rows int) {
	d := f.s.D
	top := float32(math.Inf(-1))
	for p := 0; p < len(parts); p += f.perTask {
		top = max(top, parts[p+rows*d+r])
	}
	clear(z)
	var sum float32
	for p := 0; p < len(parts); p += f.perTask {
		part := parts[p:]
		if part[rows*(d+1)+r] == 0 {
			continue // it sees none of these keys
		}
		a := float32(math.Exp(float64(part[rows*d+r] - top)))
		sum += a * part[rows*(d+1)+r]
		asm.AddScaled(z, part[r*d:][:d], a)
	}
	asm.Scale(z, z, 1/sum)
	*lse = top + float32(math.Log(float64(sum)))
}
