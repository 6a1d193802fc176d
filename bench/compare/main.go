// Command compare measures tenon and its peers in turns, in one run: each round
// takes a sample of tenon and one of each peer. Every sample lies between two probes
// of multiply-adds and counts if it was left alone. Ratios are of the medians of the
// samples that count.
//
//	go run ./bench/compare -python venv/bin/python -groups squares,thin -json r.json
//	go run ./bench/compare -merge squares.json step.json > table.md
//
// A peer that is not installed is left out, and said so.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"math"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/tenon-ml/tenon/bench"
	"github.com/tenon-ml/tenon/internal/machine"
	"github.com/tenon-ml/tenon/tensor"
)

// figures are what was measured of one system.
type figures struct {
	Value   float64 `json:"value"` // the median of the samples that count
	Min     float64 `json:"min"`
	Max     float64 `json:"max"`
	Samples int     `json:"samples"` // taken
	Quiet   int     `json:"quiet"`   // that count; if 0, all of them were used
}

// An entry is a case with what was measured.
type entry struct {
	Group   string `json:"group"`
	Case    string `json:"case"`
	Threads int    `json:"threads"`
	Unit    string `json:"unit"` // of the values, of which more is better
	figures
	Share float64 `json:"share"` // of Limit
	Limit string  `json:"limit"` // "fma", "read" or ""
	Peers []peer  `json:"peers"`
}

// A peer is what another system did in the same rounds.
type peer struct {
	Name string `json:"name"`
	figures
	Ratio float64 `json:"ratio"` // tenon's median over the peer's
}

// A record is one run.
type record struct {
	Date    string                 `json:"date"`
	Machine machine.Description    `json:"machine"`
	Limits  map[int]machine.Limits `json:"limits"` // by threads
	Entries []entry                `json:"entries"`
	Peers   map[string]string      `json:"peers"` // versions by name
	Missing map[string]string      `json:"missing"`
}

func main() {
	log.SetFlags(0)
	log.SetPrefix("compare: ")
	if err := run(); err != nil {
		log.Fatal(err)
	}
}

func run() error {
	var c config
	names := groupNames()
	groups := flag.String("groups", strings.Join(names, ","), "what to compare")
	flag.StringVar(&c.python, "python", os.Getenv("TENON_PYTHON"), "Python that has the peers; empty: none of them")
	flag.StringVar(&c.models, "models", "testdata/models", "folder of SmolLM2-135M-Instruct.*.gguf")
	flag.StringVar(&c.goPeers, "gopeers", "", "program built in bench/peers/gopeers; empty: none of the Go peers")
	flag.IntVar(&c.rounds, "rounds", 5, "rounds of each case that must count")
	flag.Float64Var(&c.patience, "patience", 2, "take at most so many times the rounds")
	flag.BoolVar(&c.verbose, "v", false, "print every sample")
	compiled := flag.Bool("compiled", true, "compare with torch.compile too, which takes minutes to start")
	out := flag.String("json", "", "file to write the record to")
	merge := flag.Bool("merge", false, "no measurement: print the tables of the records named")
	flag.Parse()
	c.torch = []string{""}
	if *compiled {
		c.torch = append(c.torch, "--compile")
	}
	if *merge {
		return mergeAndPrint(flag.Args())
	}
	if flag.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flag.Arg(0))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	r := &runner{config: c, ctx: ctx, clocks: map[int]*machine.Clock{}, peers: map[string]*process{}}
	defer r.close()
	r.record = record{Date: time.Now().UTC().Format(time.RFC3339), Machine: machine.Describe(), Limits: map[int]machine.Limits{}, Peers: map[string]string{}, Missing: map[string]string{}}
	var failed error
	for _, g := range strings.Split(*groups, ",") {
		f := groupOf(g)
		if f == nil {
			return fmt.Errorf("-groups has %q, want some of %s", g, strings.Join(names, ", "))
		}
		if err := f(r); err != nil {
			failed = fmt.Errorf("%s: %w; the record has what was measured before", g, err)
			break
		}
	}
	if *out != "" {
		text, err := json.MarshalIndent(r.record, "", " ")
		if err != nil {
			return err
		}
		if err := os.WriteFile(*out+".new", append(text, '\n'), 0o666); err != nil {
			return err
		}
		if err := os.Rename(*out+".new", *out); err != nil {
			return err
		}
	}
	fmt.Print(r.record.markdown())
	return failed
}

func mergeAndPrint(files []string) error {
	var all record
	for i, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			return err
		}
		var r record
		if err := json.Unmarshal(text, &r); err != nil {
			return fmt.Errorf("%s: %w", f, err)
		}
		if i == 0 {
			all = r
			continue
		}
		all.Entries = append(all.Entries, r.Entries...)
		for k, v := range r.Peers {
			all.Peers[k] = v
		}
		for k, v := range r.Missing {
			all.Missing[k] = v
		}
		for k, v := range r.Limits {
			old := all.Limits[k]
			v.FMA, v.Read = max(v.FMA, old.FMA), max(v.Read, old.Read)
			all.Limits[k] = v
		}
	}
	fmt.Print(all.markdown())
	return nil
}

// config is what the flags say.
type config struct {
	python, models, goPeers string
	verbose                 bool
	torch                   []string // argument lists of torch_lora.py
	rounds                  int
	patience                float64
}

// A runner compares.
type runner struct {
	config
	ctx    context.Context
	record record
	clocks map[int]*machine.Clock
	peers  map[string]*process
}

// limits measures what a number of threads can do, once, and confines the process
// to as many CPUs meanwhile and from there on.
func (r *runner) limits(threads int) (machine.Limits, error) {
	l, ok := r.record.Limits[threads]
	if !ok {
		l = machine.Measure(threads, 2*time.Second)
		r.record.Limits[threads] = l
		r.clocks[threads] = &machine.Clock{Threads: threads, Best: l.FMA}
	}
	return l, r.ctx.Err()
}

// confined runs f with the process kept to so many CPUs, and what it starts too.
func confined(threads int, f func() error) error {
	undo, err := machine.Confine(threads)
	if err != nil {
		return err
	}
	defer undo()
	return f()
}

// A task is a case to compare.
type task struct {
	group, name string
	threads     int
	amount      float64 // of unit that one run is
	unit        string
	flop, bytes float64 // of one run, for the share of the limit that is given
	run         func() error
	own         func() (float64, error) // in the place of run: a sample, and the seconds that count
	against     []rival
}

// A rival is a peer that a task is compared with.
type rival struct {
	name   string
	pids   []int                           // of its processes
	sample func(reps int) (float64, error) // seconds of one run, over so many
}

// settled waits until processes use no CPU any more: the threads of some go on
// spinning for a tenth of a second after they have been measured. The CPUs are kept
// busy meanwhile, since one that has slept takes a while to come back.
func settled(threads int, pids []int) {
	for range 50 {
		before := machine.CPUTime(pids...)
		machine.FMA(threads, 10*time.Millisecond)
		if machine.CPUTime(pids...)-before < time.Millisecond {
			return
		}
	}
}

// compare takes the rounds of a task.
func (r *runner) compare(t task) error {
	l, err := r.limits(t.threads)
	if err != nil {
		return err
	}
	clock := r.clocks[t.threads]
	if t.own == nil {
		if err := t.run(); err != nil { // warm-up
			return err
		}
		start := time.Now()
		if err := t.run(); err != nil {
			return err
		}
		reps := repetitions(time.Since(start).Seconds())
		t.own = func() (float64, error) {
			start := time.Now()
			for range reps {
				if err := t.run(); err != nil {
					return 0, err
				}
			}
			return time.Since(start).Seconds() / float64(reps), nil
		}
	}
	var rivals []rival
	var reps []int
	var all []int // processes
	for _, v := range t.against {
		_, err := v.sample(1) // warm-up
		if err == nil {
			var seconds float64
			seconds, err = v.sample(1)
			reps = append(reps, repetitions(seconds))
		}
		if err != nil {
			log.Printf("%s %s: without %s: %v", t.group, t.name, v.name, err)
			r.record.Missing[v.name+", "+t.name] = err.Error()
			continue
		}
		rivals = append(rivals, v)
		all = append(all, v.pids...)
	}
	clock.Settle = func() { settled(t.threads, all) }
	if t.bytes > 0 {
		clock.Reader = machine.NewReader(t.threads)
		defer func() {
			clock.Reader.Release()
			clock.Reader = nil
		}()
	}
	// measured[0] is tenon's.
	type sample struct {
		machine.Sample
		seconds float64
	}
	measured := make([][]sample, 1+len(rivals))
	take := func(i int, f func() (float64, error), pids ...int) error {
		if err := r.ctx.Err(); err != nil {
			return err
		}
		s := clock.Start(pids...)
		seconds, err := f()
		measured[i] = append(measured[i], sample{s.Stop(), seconds})
		return err
	}
	// counting returns the seconds of a system's samples that count.
	counting := func(i int) []float64 {
		var out []float64
		for _, s := range measured[i] {
			if clock.Quiet(s.Sample) {
				out = append(out, s.seconds)
			}
		}
		return out
	}
	fewest := func() int {
		n := len(counting(0))
		for i := range rivals {
			n = min(n, len(counting(i+1)))
		}
		return n
	}
	for taken := 0; fewest() < r.rounds && float64(taken) < r.patience*float64(r.rounds); taken++ {
		if err := take(0, t.own); err != nil {
			return err
		}
		for i, v := range rivals {
			if err := take(i+1, func() (float64, error) { return v.sample(reps[i]) }, v.pids...); err != nil {
				return err
			}
		}
	}
	figures := func(i int) figures {
		x := counting(i)
		f := figures{Samples: len(measured[i]), Quiet: len(x)}
		if len(x) == 0 {
			for _, s := range measured[i] {
				x = append(x, s.seconds)
			}
		}
		f.Value, f.Min, f.Max = t.amount/median(x), t.amount/slices.Max(x), t.amount/slices.Min(x)
		return f
	}
	e := entry{Group: t.group, Case: t.name, Threads: t.threads, Unit: t.unit, figures: figures(0)}
	switch {
	case t.bytes > 0:
		// What could be read just then: the limit of the run is another moment's.
		var shares []float64
		for _, s := range measured[0] {
			if clock.Quiet(s.Sample) || e.Quiet == 0 {
				shares = append(shares, t.bytes/s.seconds/s.Read)
			}
		}
		e.Limit, e.Share = "read", median(shares)
	case t.flop > 0:
		e.Limit, e.Share = "fma", t.flop*e.Value/t.amount/l.FMA
	}
	for i, v := range rivals {
		p := peer{Name: v.name, figures: figures(i + 1)}
		p.Ratio = e.Value / p.Value
		e.Peers = append(e.Peers, p)
	}
	r.record.Entries = append(r.record.Entries, e)
	fmt.Fprintln(os.Stderr, e.line())
	if r.verbose {
		for i := range measured {
			for _, s := range measured[i] {
				fmt.Fprintf(os.Stderr, "\t%d: %.6f s in %.3f s; probes %.2f, %.2f; others %.3f; %.1f GB/s\n", i, s.seconds, s.Seconds, s.Before/clock.Best, s.After/clock.Best, s.Others, s.Read/1e9)
			}
		}
	}
	return nil
}

// repetitions is how often what takes so many seconds is done in a sample, which
// should last 0.2 s.
func repetitions(seconds float64) int { return max(1, int(math.Ceil(0.2/max(seconds, 1e-9)))) }

func median(x []float64) float64 {
	x = slices.Sorted(slices.Values(x))
	return (x[(len(x)-1)/2] + x[len(x)/2]) / 2
}

// product compares a product with peers that know its name.
func (r *runner) product(group string, dev *tensor.CPU, c bench.Case, peers ...string) error {
	p := bench.NewProduct(dev, c, tensor.F32)
	defer p.Release()
	t := task{group: group, name: p.Name(), threads: dev.Threads(), amount: p.FLOP() / 1e9, unit: "GFLOP/s", flop: p.FLOP(), run: func() error { p.Run(); return nil }}
	op := c.Op
	if op == "packed" {
		op = "matmulT"
	}
	for _, key := range peers {
		t.against = append(t.against, r.against(key, dev.Threads(), map[string]any{"op": op, "m": c.M, "n": c.N, "k": c.K})...)
	}
	return r.compare(t)
}
