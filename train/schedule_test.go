package train

import (
	"encoding/json"
	"math"
	"os"
	"testing"
)

func TestScheduleGolden(t *testing.T) {
	raw, err := os.ReadFile("../testdata/train-schedule.json")
	if err != nil {
		t.Fatal(err)
	}
	var golden struct {
		LR    float64 `json:"lr"`
		Cases []struct {
			Schedule      string
			Warmup, Total int
			Rates         []float64
		}
		Warmups []struct {
			Warmup       float64
			Total, Steps int
		}
	}
	if err := json.Unmarshal(raw, &golden); err != nil {
		t.Fatal(err)
	}
	// Python's and Go's cosine may differ in the last bit.
	const relative = 1e-15
	seen := map[Schedule]bool{}
	for _, c := range golden.Cases {
		s, err := ParseSchedule(c.Schedule)
		if err != nil {
			t.Fatal(err)
		}
		seen[s] = true
		for i, want := range c.Rates {
			got := golden.LR * s.Factor(i, c.Warmup, c.Total)
			if math.Abs(got-want) > relative*golden.LR {
				t.Errorf("%s warmup %d total %d step %d: got %v, want %v", s, c.Warmup, c.Total, i, got, want)
			}
		}
	}
	for _, s := range schedules {
		if !seen[s] {
			t.Errorf("schedule %s has no golden", s)
		}
	}
	for _, c := range golden.Warmups {
		if got := WarmupSteps(c.Warmup, c.Total); got != c.Steps {
			t.Errorf("WarmupSteps(%v, %d) = %d, want %d", c.Warmup, c.Total, got, c.Steps)
		}
	}
}

func TestParseScheduleUnknown(t *testing.T) {
	if _, err := ParseSchedule("polynomial"); err == nil || err.Error() != `schedule "polynomial", want one of constant, linear, cosine` {
		t.Errorf("got %v", err)
	}
}
