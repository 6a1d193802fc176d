package cli

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"github.com/tenon-ml/tenon/train"
)

// stepReport is what is told about one training step: a line of `--json`.
type stepReport struct {
	train.Report
	RSS int64 `json:"rss_bytes"`
}

// progress shows a training run on a terminal as a bar, and elsewhere as a
// line now and then.
type progress struct {
	w     io.Writer
	quiet bool // no lines
	bar   *progressbar.ProgressBar
	from  int // steps taken before
	total int
	start time.Time
	last  time.Time // when the last line was written
	now   func() time.Time
}

// lineEvery is how often a run that no terminal shows writes a line.
const lineEvery = 10 * time.Second

// isTerminal reports whether what is written to w is shown on a terminal.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// newProgress begins to show a run from a step to the last. Quiet leaves out the lines,
// where a machine reads what happens elsewhere.
func newProgress(w io.Writer, from, total int, quiet bool) *progress {
	p := &progress{w: w, quiet: quiet, from: from, total: total, start: time.Now(), now: time.Now}
	if isTerminal(w) {
		p.bar = progressbar.NewOptions(total,
			progressbar.OptionSetWriter(w),
			progressbar.OptionSetDescription("training"),
			progressbar.OptionSetPredictTime(true),
			progressbar.OptionShowCount(),
			progressbar.OptionSetElapsedTime(true),
			progressbar.OptionThrottle(100*time.Millisecond),
			progressbar.OptionFullWidth(),
			progressbar.OptionOnCompletion(func() { fmt.Fprintln(w) }),
		)
	}
	return p
}

// step shows that a step is done.
func (p *progress) step(r stepReport) {
	what := fmt.Sprintf("loss %.4f · %.0f tokens/s · %s", r.Loss, r.TokensPerSec, gigabytes(r.RSS))
	if p.bar != nil {
		p.bar.Describe(what)
		_ = p.bar.Set(r.Step) // the bar is decoration: a terminal that is gone stops nothing
		return
	}
	now := p.now()
	if p.quiet || r.Step != p.from+1 && r.Step != p.total && now.Sub(p.last) < lineEvery {
		return
	}
	p.last = now
	eta := time.Duration(float64(now.Sub(p.start)) / float64(r.Step-p.from) * float64(p.total-r.Step))
	fmt.Fprintf(p.w, "step %d/%d · %s · %s left\n", r.Step, p.total, what, eta.Round(time.Second))
}

// close ends the bar's line, so that what follows begins a new one.
func (p *progress) close() {
	if p.bar != nil && !p.bar.IsFinished() {
		_ = p.bar.Exit()
		fmt.Fprintln(p.w)
	}
}

// countText spells a number of things: 135 M and the like.
func countText(n int64) string {
	const unit = 1000
	if n < unit {
		return fmt.Sprint(n)
	}
	f, i := float64(n)/unit, 0
	for ; f >= 999.5 && i < 3; i++ {
		f /= unit
	}
	return fmt.Sprintf("%.3g %c", f, "kMGT"[i])
}
