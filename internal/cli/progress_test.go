package cli

import (
	"bytes"
	"image/png"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/train"
)

func TestProgressLines(t *testing.T) {
	var w bytes.Buffer
	p := newProgress(&w, 0, 100, false)
	clock := p.start
	p.now = func() time.Time { return clock }
	for i := 1; i <= 100; i++ {
		clock = clock.Add(time.Second)
		p.step(stepReport{train.Report{Step: i, Loss: 1.25, TokensPerSec: 512}, 3 << 29})
	}
	p.close()
	lines := strings.Split(strings.TrimSpace(w.String()), "\n")
	var none bytes.Buffer
	newProgress(&none, 0, 1, true).step(stepReport{Report: train.Report{Step: 1}})
	if none.Len() > 0 {
		t.Errorf("quiet, but wrote %q", none.String())
	}
	if len(lines) != 11 { // the first, one each ten seconds, the last
		t.Errorf("%d lines, want 11:\n%s", len(lines), w.String())
	}
	if want := "step 11/100 · loss 1.2500 · 512 tokens/s · 1.61 GB · 1m29s left"; lines[1] != want {
		t.Errorf("got %q, want %q", lines[1], want)
	}
}

func TestCountText(t *testing.T) {
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1 k", 134515008: "135 M", 999999: "1 M", 1e9: "1 G"} {
		if got := countText(n); got != want {
			t.Errorf("%d: got %s, want %s", n, got, want)
		}
	}
}

func TestRSS(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("resident memory is read on Linux only")
	}
	// A bound and not a difference: what earlier tests left may go back to the
	// system meanwhile.
	const size = 64 << 20
	b := make([]byte, size)
	for i := 0; i < len(b); i += 4096 {
		b[i] = 1
	}
	if got := rssBytes(); got < size || got > 1<<40 {
		t.Errorf("%d MiB are in use, rssBytes() = %d", size>>20, got)
	}
	runtime.KeepAlive(b)
}

func TestLossPlot(t *testing.T) {
	path := filepath.Join(t.TempDir(), "loss.png")
	train := []lossPoint{{1, 2.5}, {2, 2.1}, {3, 1.9}}
	if err := lossPlot(path, train, []lossPoint{{3, 2}}); err != nil {
		t.Fatal(err)
	}
	with := decode(t, path)
	if err := lossPlot(path, train[:1], nil); err != nil {
		t.Fatal(err)
	}
	if one := decode(t, path); one == with {
		t.Error("another curve gives the same picture")
	}
	for _, bad := range [][]lossPoint{nil, {{1, math.NaN()}}, {{1, math.Inf(1)}}} {
		if err := lossPlot(path, bad, nil); err == nil || !strings.HasPrefix(err.Error(), path) {
			t.Errorf("%v: got %v", bad, err)
		}
	}
}

// decode checks that a file is a picture and returns its bytes.
func decode(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	m, err := png.Decode(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	if m.Bounds().Dx() < 300 || m.Bounds().Dy() < 200 {
		t.Errorf("the picture is %v", m.Bounds())
	}
	return string(b)
}
