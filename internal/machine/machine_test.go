package machine

import (
	"os"
	"os/exec"
	"runtime"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/asm"
)

func TestMeasure(t *testing.T) {
	l := Measure(0, 0)
	if l.Threads != runtime.GOMAXPROCS(0) || l.CPU == "" || l.Tier != asm.Tier() {
		t.Errorf("%+v", l)
	}
	// Any machine that runs this does more than a floating-point operation a
	// microsecond, and none of them 10¹⁵ a second.
	if !(l.FMA > 1e6 && l.FMA < 1e15) || !(l.Read > 1e6 && l.Read < 1e14) {
		t.Errorf("%+v", l)
	}
}

func TestSample(t *testing.T) {
	c := Clock{Threads: 1, Reader: NewReader(1)}
	defer c.Reader.Release()
	s := c.Start()
	time.Sleep(20 * time.Millisecond)
	got := s.Stop()
	if got.Seconds < 0.02 || got.Before <= 0 || got.After <= 0 || got.Read <= 0 || c.Best != max(got.Before, got.After) {
		t.Errorf("%+v %+v", got, c)
	}
}

func TestQuiet(t *testing.T) {
	c := Clock{Best: 100}
	for _, x := range []struct {
		s     Sample
		quiet bool
	}{
		{Sample{Before: 92, After: 100}, true},
		{Sample{Before: 91, After: 100}, false},
		{Sample{Before: 100, After: 91}, false},
		{Sample{Before: 100, After: 100, Others: 0.06}, true},
		{Sample{Before: 100, After: 100, Others: 0.07}, false},
	} {
		if c.Quiet(x.s) != x.quiet {
			t.Errorf("%+v", x)
		}
	}
}

// A process that computes beside the sample shows in Others, and does not if it
// is one of the sample's own.
func TestOthers(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("/proc is Linux's")
	}
	if testing.Short() {
		t.Skip("takes half a second")
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	other := exec.Command(exe)
	other.Env = append(os.Environ(), "TENON_TEST_SPIN=1")
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	defer other.Wait()
	defer other.Process.Kill()
	time.Sleep(50 * time.Millisecond) // it starts
	c := Clock{Threads: 1}
	nap := func(pids ...int) Sample {
		s := c.Start(pids...)
		time.Sleep(200 * time.Millisecond)
		return s.Stop()
	}
	with, own := nap(), nap(other.Process.Pid)
	// What else runs on the machine is in both.
	if gap := (with.Others - own.Others) * float64(runtime.NumCPU()); with.Others == 0 || gap > 1.5 {
		t.Errorf("others took %.2f of the CPUs, without the process %.2f", with.Others, own.Others)
	}
}

func TestMain(m *testing.M) {
	if os.Getenv("TENON_TEST_SPIN") != "" {
		for {
			asm.FMALoop(1 << 11)
		}
	}
	os.Exit(m.Run())
}

func TestConfine(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("Linux alone can")
	}
	undo, err := Confine(1)
	if err != nil {
		t.Fatal(err)
	}
	if n := allowed(t); n != 1 {
		t.Errorf("%d CPUs allowed, want 1", n)
	}
	undo()
	if n := allowed(t); n != runtime.NumCPU() {
		t.Errorf("%d CPUs allowed afterwards, want %d", n, runtime.NumCPU())
	}
	if _, err := Confine(runtime.NumCPU() + 1); err == nil {
		t.Error("more CPUs than there are")
	}
}

func TestResident(t *testing.T) {
	m := Resident()
	if m.Peak <= 0 || m.Anon <= 0 {
		t.Errorf("%+v", m)
	}
}

func TestDescribe(t *testing.T) {
	d := Describe()
	if d.CPU == "" || d.Cores < 1 || d.Go == "" || d.Tier == "" {
		t.Errorf("%+v", d)
	}
}
