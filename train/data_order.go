package train

import (
	"errors"
	"fmt"
	"iter"
	"math/bits"
	"math/rand/v2"
	"slices"
)

// Batch is what one forward and backward pass takes: B rows of T tokens, in
// row-major order. Rows shorter than T are filled up on the right with token 0
// and label Ignore; under causal attention what stands behind a row's end
// changes nothing before it.
type Batch struct {
	B, T   int
	IDs    []int32 // [B, T]
	Labels []int32 // [B, T], unshifted
	Lines  []int   // the lines of the file that the rows are
	Tokens int     // of the rows, without padding

	// Starts is set where rows hold several documents: for each token [B, T] the
	// place in its row where its document begins.
	Starts []int32
}

// Targets returns the number of positions of the batch that have a loss.
func (b *Batch) Targets() int {
	n := 0
	for i, l := range b.Labels {
		if l != Ignore && i%b.T != 0 {
			n++
		}
	}
	return n
}

// NewBatch pads rows to the longest of them. A row is a document, or several that
// do not see each other: no document's first token is predicted.
func NewBatch(rows [][]*Example) Batch {
	b := Batch{B: len(rows)}
	packed := false
	for _, row := range rows {
		n := 0
		for _, e := range row {
			n += len(e.IDs)
		}
		b.T = max(b.T, n)
		packed = packed || len(row) > 1
	}
	b.IDs = make([]int32, b.B*b.T)
	b.Labels = make([]int32, b.B*b.T)
	for i := range b.Labels {
		b.Labels[i] = Ignore
	}
	if packed {
		b.Starts = make([]int32, b.B*b.T)
	}
	for i, row := range rows {
		at := i * b.T
		for _, e := range row {
			copy(b.IDs[at:], e.IDs)
			copy(b.Labels[at:], e.Labels)
			if at > i*b.T && len(e.Labels) > 0 {
				b.Labels[at] = Ignore
			}
			if packed {
				for t := range len(e.IDs) {
					b.Starts[at+t] = int32(at - i*b.T)
				}
			}
			at += len(e.IDs)
			b.Lines = append(b.Lines, e.Line)
			b.Tokens += len(e.IDs)
		}
		for t := at; packed && t < (i+1)*b.T; t++ { // padding is a document of its own
			b.Starts[t] = int32(at - i*b.T)
		}
	}
	return b
}

// Step is the data of one optimizer step.
type Step struct {
	Number  int     // from 1
	Epoch   int     // from 0
	Batches []Batch // one, or as many as are accumulated
	Targets int     // positions with a loss in all of them: what the loss is the mean over
}

// Loader puts examples into steps as transformers' Trainer does: an epoch is
// every row once, cut into batches of Batch rows, and Accumulate batches are a
// step. The last batch of an epoch and its last step may be short; the next
// epoch begins with a new step.
type Loader struct {
	Examples   []Example
	Batch      int    // rows of a batch
	Accumulate int    // batches of a step
	Shuffle    bool   // a new order each epoch; otherwise the order of the file
	Seed       uint64 // the orders follow from it and the epoch alone

	// Pack is the number of tokens up to which several examples share a row: each
	// goes, in the order of the file, into the first row that has room for it. 0:
	// each example is a row.
	Pack int
}

// rows returns the rows of an epoch, in the order of the file.
func (l *Loader) rows() [][]*Example {
	var rows [][]*Example
	var room []int
	for i := range l.Examples {
		e := &l.Examples[i]
		j := len(rows)
		if l.Pack > 0 {
			j = slices.IndexFunc(room, func(r int) bool { return r >= len(e.IDs) })
		}
		if j < 0 || j == len(rows) {
			j = len(rows)
			rows, room = append(rows, nil), append(room, l.Pack)
		}
		rows[j] = append(rows[j], e)
		room[j] -= len(e.IDs)
	}
	return rows
}

// StepsPerEpoch returns ceil(ceil(rows/Batch)/Accumulate).
func (l *Loader) StepsPerEpoch() int {
	batches := (len(l.rows()) + l.Batch - 1) / l.Batch
	return (batches + l.Accumulate - 1) / l.Accumulate
}

// order returns n rows in the order in which an epoch takes them.
func (l *Loader) order(epoch, n int) []int {
	p := make([]int, n)
	for i := range p {
		p[i] = i
	}
	if !l.Shuffle {
		return p
	}
	// Fisher-Yates on the PCG stream, which Go keeps stable between releases;
	// the high word of a 64×64-bit product is a number below n, with a bias of
	// at most n/2⁶⁴.
	r := rand.NewPCG(l.Seed, uint64(epoch))
	for n := len(p) - 1; n > 0; n-- {
		k, _ := bits.Mul64(r.Uint64(), uint64(n)+1)
		p[n], p[k] = p[k], p[n]
	}
	return p
}

// batches yields the rows of each of the first n steps, batch by batch.
func (l *Loader) batches(n int) iter.Seq2[int, [][][]*Example] {
	return func(yield func(epoch int, batches [][][]*Example) bool) {
		rows := l.rows()
		if len(rows) == 0 {
			return
		}
		for epoch, done := 0, 0; done < n; epoch++ {
			order := l.order(epoch, len(rows))
			for len(order) > 0 && done < n {
				var step [][][]*Example
				for len(step) < l.Accumulate && len(order) > 0 {
					m := min(l.Batch, len(order))
					batch := make([][]*Example, m)
					for i, x := range order[:m] {
						batch[i] = rows[x]
					}
					step, order = append(step, batch), order[m:]
				}
				done++
				if !yield(epoch, step) {
					return
				}
			}
		}
	}
}

// checked is how many steps Check looks at: a run does not wait for more, and finds
// those itself.
const checked = 10000

// Check reports settings that are out of range, and the first of n steps (of the
// first 10000) that has no position with a loss: its mean would be 0/0.
func (l *Loader) Check(n int) error {
	switch {
	case l.Batch < 1:
		return fmt.Errorf("batch is %d, want at least 1", l.Batch)
	case l.Accumulate < 1:
		return fmt.Errorf("accumulate is %d, want at least 1", l.Accumulate)
	case len(l.Examples) == 0:
		return errors.New("no examples")
	}
	number := 0
	for _, batches := range l.batches(min(n, checked)) {
		number++
		targets := 0
		var lines []int
		for _, rows := range batches {
			for _, row := range rows {
				for _, e := range row {
					targets += e.Targets()
					lines = append(lines, e.Line)
				}
			}
		}
		if targets == 0 {
			what := "line"
			if len(lines) > 1 {
				what = "lines"
			}
			shown := fmt.Sprint(lines[:min(len(lines), 8)])
			return fmt.Errorf("%s %s: nothing to learn in step %d: no label behind the first token is left after cutting",
				what, shown[1:len(shown)-1], number)
		}
	}
	return nil
}

// Steps yields the first n steps, going round the epochs.
func (l *Loader) Steps(n int) iter.Seq[Step] { return l.steps(0, n) }

// steps yields those of the first n steps that come after the first so many.
func (l *Loader) steps(after, n int) iter.Seq[Step] {
	return func(yield func(Step) bool) {
		number := 0
		for epoch, batches := range l.batches(n) {
			if number++; number <= after {
				continue
			}
			s := Step{Number: number, Epoch: epoch}
			for _, rows := range batches {
				batch := NewBatch(rows)
				s.Targets += batch.Targets()
				s.Batches = append(s.Batches, batch)
			}
			if !yield(s) {
				return
			}
		}
	}
}
