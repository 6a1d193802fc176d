package main

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
)

// line is an entry in one line.
func (e *entry) line() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s: %.1f %s", e.Group, e.Case, e.Value, e.Unit)
	if e.Limit != "" {
		fmt.Fprintf(&b, ", %.0f %% of %s", 100*e.Share, e.Limit)
	}
	for _, p := range e.Peers {
		fmt.Fprintf(&b, "; %.2f × %s", p.Ratio, p.Name)
	}
	fmt.Fprintf(&b, " (quiet: %s)", e.counts())
	return b.String()
}

// counts is how many samples of each system count, of how many.
func (e *entry) counts() string {
	s := fmt.Sprintf("%d/%d", e.Quiet, e.Samples)
	for _, p := range e.Peers {
		s += fmt.Sprintf(", %d/%d", p.Quiet, p.Samples)
	}
	return s
}

// markdown writes a table a group, with the geometric mean of the ratios.
func (r *record) markdown() string {
	var b strings.Builder
	m := r.Machine
	fmt.Fprintf(&b, "%s, %d cores (%s), %.0f GB, %s, %s, tier %s; %s.\n", m.CPU, m.Cores, strings.Join(m.Caches, ", "), float64(m.Memory)/1e9, m.OS, m.Go, m.Tier, r.Date)
	for _, n := range slices.Sorted(maps.Keys(r.Limits)) {
		l := r.Limits[n]
		fmt.Fprintf(&b, "Limits, %d threads: %.1f GFLOP/s multiply-adds, %.1f GB/s read.\n", n, l.FMA/1e9, l.Read/1e9)
	}
	for _, name := range slices.Sorted(maps.Keys(r.Peers)) {
		fmt.Fprintf(&b, "%s: %s.\n", name, r.Peers[name])
	}
	for _, name := range slices.Sorted(maps.Keys(r.Missing)) {
		fmt.Fprintf(&b, "Without %s: %s.\n", name, r.Missing[name])
	}
	for _, g := range groups {
		var entries []entry
		var peers []string
		for _, e := range r.Entries {
			if e.Group == g.name {
				entries = append(entries, e)
				for _, p := range e.Peers {
					if !slices.Contains(peers, p.Name) {
						peers = append(peers, p.Name)
					}
				}
			}
		}
		if entries == nil {
			continue
		}
		fmt.Fprintf(&b, "\n### %s\n\n| case | tenon | of the limit |", g.name)
		for _, p := range peers {
			fmt.Fprintf(&b, " × %s |", p)
		}
		fmt.Fprintf(&b, " quiet samples |\n|---|---|---|%s---|\n", strings.Repeat("---|", len(peers)))
		logs, counts := make([]float64, len(peers)), make([]int, len(peers))
		for _, e := range entries {
			share := "–"
			if e.Limit != "" {
				share = fmt.Sprintf("%.0f %% %s", 100*e.Share, map[string]string{"fma": "FMA", "read": "read"}[e.Limit])
			}
			fmt.Fprintf(&b, "| %s | %.1f %s | %s |", e.Case, e.Value, e.Unit, share)
			for i, name := range peers {
				at := slices.IndexFunc(e.Peers, func(p peer) bool { return p.Name == name })
				if at < 0 {
					b.WriteString(" – |")
					continue
				}
				p := e.Peers[at]
				fmt.Fprintf(&b, " %.2f |", p.Ratio)
				logs[i] += math.Log(p.Ratio)
				counts[i]++
			}
			fmt.Fprintf(&b, " %s |\n", e.counts())
		}
		if len(entries) > 1 && len(peers) > 0 {
			b.WriteString("| geometric mean | | |")
			for i := range peers {
				fmt.Fprintf(&b, " %.2f |", math.Exp(logs[i]/float64(max(1, counts[i]))))
			}
			b.WriteString(" |\n")
		}
	}
	return b.String()
}
