package bench

import (
	"fmt"
	"io"
	"strings"
)

// Markdown writes a report as a table.
func (r *Report) Markdown(w io.Writer) error {
	var b strings.Builder
	m := r.Machine
	fmt.Fprintf(&b, "%s, %d cores (%s), %.0f GB, %s, %s, tier %s; %s\n\n", m.CPU, m.Cores, strings.Join(m.Caches, ", "), float64(m.Memory)/1e9, m.OS, m.Go, m.Tier, r.Date)
	if r.Limits.FMA > 0 {
		fmt.Fprintf(&b, "Limits, %d threads: %.1f GFLOP/s multiply-adds in F32, %.1f GB/s read from memory.\n\n", r.Limits.Threads, r.Limits.FMA/1e9, r.Limits.Read/1e9)
	}
	fmt.Fprintf(&b, "%s: %d parameters, %s, %.1f MB; products in %s.\n\n", r.Model.Path, r.Model.Parameters, strings.Join(r.Model.Types, ", "), float64(r.Model.Bytes)/1e6, r.Compute)
	if len(r.Results) == 0 {
		_, err := io.WriteString(w, b.String())
		return err
	}
	b.WriteString("| job | case | median | min to max | of the limit | quiet samples |\n|---|---|---|---|---|---|\n")
	for _, x := range r.Results {
		value, spread, share := x.Value, fmt.Sprintf("%.1f to %.1f", x.Min, x.Max), "–"
		unit := x.Unit
		if unit == "bytes" {
			value, unit, spread = value/1e6, "MB", "–"
		}
		if x.Limit != "" {
			share = fmt.Sprintf("%.0f %% %s", 100*x.Share, map[string]string{"fma": "FMA", "read": "read"}[x.Limit])
		}
		fmt.Fprintf(&b, "| %s | %s | %.1f %s | %s | %s | %d of %d |\n", x.Job, x.Case, value, unit, spread, share, x.Quiet, x.Samples)
	}
	_, err := io.WriteString(w, b.String())
	return err
}
