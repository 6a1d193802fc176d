package train

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// Schedule says how the learning rate goes from step to step. Each starts
// with a linear warm-up from 0, whose first step has the rate 0.
type Schedule string

// The schedules of transformers' get_scheduler that exist here. With s the
// step from 0, w the warm-up steps and n all steps, behind the warm-up the
// peak rate is multiplied by:
const (
	Constant Schedule = "constant" // 1
	Linear   Schedule = "linear"   // (n-s)/(n-w)
	Cosine   Schedule = "cosine"   // (1 + cos(π·(s-w)/(n-w)))/2
)

// schedules is the list of what exists, in the order in which help shows it.
var schedules = []Schedule{Constant, Linear, Cosine}

// ParseSchedule returns the schedule of that name.
func ParseSchedule(name string) (Schedule, error) {
	if s := Schedule(name); slices.Contains(schedules, s) {
		return s, nil
	}
	names := make([]string, len(schedules))
	for i, s := range schedules {
		names[i] = string(s)
	}
	return "", fmt.Errorf("schedule %q, want one of %s", name, strings.Join(names, ", "))
}

// Factor returns what the peak learning rate is multiplied by in a step: step
// counts from 0, the first warmup of the total steps are the warm-up.
//
// Source: transformers 5.23, optimization.py; `constant` is its
// constant_with_warmup.
func (s Schedule) Factor(step, warmup, total int) float64 {
	if step < warmup {
		return float64(step) / float64(warmup)
	}
	switch s {
	case Linear:
		return max(0, float64(total-step)/float64(max(1, total-warmup)))
	case Cosine:
		progress := float64(step-warmup) / float64(max(1, total-warmup))
		return max(0, 0.5*(1+math.Cos(math.Pi*progress)))
	}
	return 1
}

// WarmupSteps returns the steps of a warm-up given as a number: from 1 on it
// is the number of steps, below 1 it is the share of all steps, rounded up.
//
// Source: transformers 5.23, TrainingArguments.get_warmup_steps.
func WarmupSteps(warmup float64, total int) int {
	if warmup >= 1 {
		return int(warmup)
	}
	return int(math.Ceil(float64(total) * warmup))
}
