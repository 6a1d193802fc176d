// Package bench measures tenon: whole jobs on a model, each figure beside the
// machine's own limits, measured in the same run. Its tests are benchmarks of
// kernels; bench/compare runs tenon and its peers in turns.
package bench

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"runtime/debug"
	"slices"
	"time"

	"github.com/tenon-ml/tenon/internal/machine"
)

// A Report is the result of a run of benchmarks. docs/performance.md says what
// its keys mean.
type Report struct {
	Schema  int                 `json:"schema"`
	Date    string              `json:"date"`
	Version string              `json:"version"`
	Machine machine.Description `json:"machine"`
	Limits  Limits              `json:"limits"`
	Compute string              `json:"compute"` // arithmetic of matrix products
	Model   ModelInfo           `json:"model"`
	Results []Result            `json:"results"`
	Memory  machine.Memory      `json:"memory"`
}

// Schema is the number of the report's form.
const Schema = 1

// Limits are what the machine can do at best at the run's thread count.
type Limits struct {
	Threads int     `json:"threads"`
	FMA     float64 `json:"fma_flop_per_s"`
	Read    float64 `json:"read_bytes_per_s"`
}

// ModelInfo describes the model that was measured.
type ModelInfo struct {
	Path       string   `json:"path"`
	Parameters int      `json:"parameters"`
	Types      []string `json:"types"` // of the matrices
	Bytes      int      `json:"bytes"` // of the weights as they are held
}

// A Result is one figure.
type Result struct {
	Job     string  `json:"job"`
	Case    string  `json:"case"`
	Value   float64 `json:"value"` // the median of the samples that count
	Unit    string  `json:"unit"`
	Min     float64 `json:"min"`
	Max     float64 `json:"max"`
	Seconds float64 `json:"seconds"` // the median time of one run
	Samples int     `json:"samples"` // taken
	Quiet   int     `json:"quiet"`   // that count; if 0, the value is of all of them
	FLOP    float64 `json:"flop"`    // of one run, useful ones
	Bytes   float64 `json:"bytes"`   // that one run must read
	Limit   string  `json:"limit"`   // "fma", "read" or "": which limit the share is of
	Share   float64 `json:"share"`   // of the limit, 0 to 1; 0 where there is none
}

// now returns the head of a report.
func now() Report {
	r := Report{Schema: Schema, Date: time.Now().UTC().Format(time.RFC3339), Machine: machine.Describe(), Results: []Result{}}
	if info, ok := debug.ReadBuildInfo(); ok {
		r.Version = info.Main.Version
	}
	return r
}

// A Sampler takes samples until enough of them were left alone.
type Sampler struct {
	machine.Clock
	Wanted int // samples that count; after three times as many there are no more
}

// timings are what a Sampler measured, in seconds.
type timings struct {
	seconds []float64 // those that count, ascending; all of them if none does
	read    []float64 // bytes a second that could be read around each, if that was measured
	taken   int
	quiet   int
}

// measure samples f, which returns how long the part took that matters, in
// seconds, 0 for all of it.
func (s *Sampler) measure(ctx context.Context, f func() (float64, error)) (timings, error) {
	var all []machine.Sample
	for range 3 * s.Wanted {
		if err := ctx.Err(); err != nil {
			return timings{}, err
		}
		stretch := s.Start()
		seconds, err := f()
		sample := stretch.Stop()
		if err != nil {
			return timings{}, err
		}
		if seconds > 0 {
			sample.Seconds = seconds
		}
		all = append(all, sample)
		if s.counting(all).quiet == s.Wanted {
			break
		}
	}
	return s.counting(all), nil
}

// counting returns the samples that count.
func (s *Sampler) counting(all []machine.Sample) timings {
	t := timings{taken: len(all)}
	quiet := slices.DeleteFunc(slices.Clone(all), func(x machine.Sample) bool { return !s.Quiet(x) })
	if t.quiet = len(quiet); t.quiet == 0 {
		quiet = all
	}
	slices.SortFunc(quiet, func(a, b machine.Sample) int { return cmp.Compare(a.Seconds, b.Seconds) })
	for _, x := range quiet {
		t.seconds, t.read = append(t.seconds, x.Seconds), append(t.read, x.Read)
	}
	return t
}

// repeated measures f, which is short, as often as fills a sample.
func (s *Sampler) repeated(ctx context.Context, f func()) (timings, error) {
	f()
	start := time.Now()
	f()
	n := max(1, int(math.Ceil(sampleTime/max(time.Since(start).Seconds(), 1e-9))))
	return s.measure(ctx, func() (float64, error) {
		start := time.Now()
		for range n {
			f()
		}
		return time.Since(start).Seconds() / float64(n), nil
	})
}

// sampleTime is how long a sample should last at least, in seconds.
const sampleTime = 0.2

func median(x []float64) float64 {
	if len(x) == 0 {
		return 0
	}
	return (x[(len(x)-1)/2] + x[len(x)/2]) / 2
}

// rate makes a result of times: amount of unit a second.
func (t timings) rate(job, name string, amount float64, unit string) Result {
	r := Result{Job: job, Case: name, Unit: unit, Samples: t.taken, Quiet: t.quiet, Seconds: median(t.seconds)}
	r.Value, r.Min, r.Max = amount/r.Seconds, amount/t.seconds[len(t.seconds)-1], amount/t.seconds[0]
	return r
}

// ofFMA and ofRead add the share of a limit.
func (r Result) ofFMA(flop float64, l Limits) Result {
	r.FLOP, r.Limit, r.Share = flop, "fma", flop/r.Seconds/l.FMA
	return r
}

// ofRead takes the share of what could be read around each sample.
func (r Result) ofRead(bytes float64, t timings) Result {
	r.Bytes, r.Limit = bytes, "read"
	var shares []float64
	for i, s := range t.seconds {
		shares = append(shares, bytes/s/t.read[i])
	}
	slices.Sort(shares)
	r.Share = median(shares)
	return r
}

func threadsName(n int) string { return fmt.Sprintf("threads=%d", n) }

// AddMemory adds what the process of another report held, which did nothing but a
// job of this one.
func (r *Report) AddMemory(of *Report) {
	r.Memory = of.Memory
	for _, x := range of.Results {
		v := float64(of.Memory.Peak)
		r.Results = append(r.Results, Result{Job: "memory", Case: x.Job + "/" + x.Case, Value: v, Unit: "bytes", Min: v, Max: v, Samples: 1, Quiet: 1})
	}
}
