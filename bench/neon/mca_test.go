// Package neon computes, where no arm64 hardware is at hand, what share of a
// processor's multiply-add pipes the loops of the NEON kernels fill, by LLVM's
// model of the processor (llvm-mca). Caches, memory and the fetching of
// instructions are no part of the model.
package neon

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// cpus are the processors, with a name that LLVM's model of each has in its
// resources: an older LLVM takes a neoverse-n1 for a cortex-a57.
var cpus = []struct{ name, unit string }{{"neoverse-n1", "N1Unit"}, {"cortex-a72", "A57Unit"}}

// least is the share of the binding pipes that a GEMM micro-kernel must reach.
const least = 0.9

// tools returns llvm-mca and llvm-objdump of one version that models all cpus.
func tools(t *testing.T) (mca, objdump string) {
	t.Helper()
	for _, suffix := range []string{"", "-22", "-21", "-20", "-19", "-18", "-17", "-16"} {
		mca, err := exec.LookPath("llvm-mca" + suffix)
		if err != nil {
			continue
		}
		objdump, err := exec.LookPath("llvm-objdump" + suffix)
		if err != nil {
			continue
		}
		good := true
		for _, c := range cpus {
			out, err := model(mca, c.name, "fmla v8.4s, v0.4s, v4.s[0]\n")
			good = good && err == nil && strings.Contains(out, c.unit)
		}
		if good {
			return mca, objdump
		}
	}
	t.Skip("no llvm-mca that models neoverse-n1 is installed; Debian: apt-get install llvm-16")
	return "", ""
}

func model(mca, cpu, code string) (string, error) {
	cmd := exec.Command(mca, "-mtriple=aarch64", "-mattr=+dotprod", "-mcpu="+cpu, "-iterations=100", "-")
	cmd.Stdin = strings.NewReader(code)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, stderr.Bytes())
	}
	return string(out), nil
}

type instruction struct {
	at   uint64
	text string
}

var (
	line   = regexp.MustCompile(`^\s*([0-9a-f]+):\s+(.+)$`)
	branch = regexp.MustCompile(`^(?:b|b\.\w+|cbn?z|tbn?z)\s.*\b0x([0-9a-f]+)$`)
	symbol = regexp.MustCompile(`^[0-9a-f]+ <github\.com/tenon-ml/tenon/asm\.(\w+)\.abi0>:$`)
	// products are the kernels of matrix products, and the loop that is all multiply-adds.
	products = regexp.MustCompile(`^(?:gemm|dots|fmaLoop)`)

	macs = regexp.MustCompile(`\b(?:fmla|sdot)\b`)
)

// loops returns the innermost loops of each kernel in a listing that have multiply-adds.
func loops(listing string) map[string][][]instruction {
	out := map[string][][]instruction{}
	var name string
	var code []instruction
	for l := range strings.Lines(listing) {
		l = strings.TrimSpace(l)
		if m := symbol.FindStringSubmatch(l); m != nil {
			name, code = m[1], nil
			continue
		}
		m := line.FindStringSubmatch(l)
		if l == "" || m == nil {
			if l != "" && !strings.HasPrefix(l, "...") {
				name = "" // another symbol
			}
			continue
		}
		if name == "" {
			continue
		}
		text, _, _ := strings.Cut(m[2], " <") // of a branch: the target's name
		at, _ := strconv.ParseUint(m[1], 16, 64)
		code = append(code, instruction{at, strings.TrimSpace(text)})
		b := branch.FindStringSubmatch(strings.TrimSpace(text))
		if b == nil {
			continue
		}
		to, _ := strconv.ParseUint(b[1], 16, 64)
		from := slices.IndexFunc(code, func(i instruction) bool { return i.at == to })
		if from < 0 {
			continue // forward, or out of the kernel
		}
		body := code[from:]
		inner := true
		for _, i := range body[:len(body)-1] {
			if b := branch.FindStringSubmatch(i.text); b != nil {
				if to, _ := strconv.ParseUint(b[1], 16, 64); to <= i.at {
					inner = false
				}
			}
		}
		if inner && slices.ContainsFunc(body, func(i instruction) bool { return macs.MatchString(i.text) }) {
			out[name] = append(out[name], body)
		}
	}
	return out
}

// usage is what a model says of one turn of a loop.
type usage struct {
	instructions, macs int
	cycles             float64 // of a turn
	macCycles          float64 // that the multiply-adds need on their pipes
	loadCycles         float64 // that the loads need on theirs
}

var (
	total = regexp.MustCompile(`Total Cycles:\s+(\d+)`)
	info  = regexp.MustCompile(`(?m)^ *\d+ +\d+ +([\d.]+) +(\*?) +(?:\*? +)?(?:U? +)?(\S.*)$`)
)

// use asks the model about a loop.
func use(mca, cpu string, body []instruction) (usage, error) {
	var code strings.Builder
	code.WriteString("loop:\n")
	for _, i := range body {
		if b := branch.FindStringSubmatchIndex(i.text); b != nil {
			i.text = i.text[:b[2]-len("0x")] + "loop"
		}
		code.WriteString(i.text + "\n")
	}
	out, err := model(mca, cpu, code.String())
	if err != nil {
		return usage{}, err
	}
	u := usage{instructions: len(body)}
	if m := total.FindStringSubmatch(out); m != nil {
		n, _ := strconv.Atoi(m[1])
		u.cycles = float64(n) / 100
	}
	_, out, _ = strings.Cut(out, "Instruction Info:")
	out, _, _ = strings.Cut(out, "Resources:")
	for _, m := range info.FindAllStringSubmatch(out, -1) {
		each, _ := strconv.ParseFloat(m[1], 64)
		switch {
		case macs.MatchString(m[3]):
			u.macs++
			u.macCycles += each
		case m[2] == "*":
			u.loadCycles += each
		}
	}
	return u, nil
}

// The GEMM micro-kernels fill 90 % of the multiply-add pipes, but for the kernel of
// one row: it has four sums, each of which waits for itself, since an element is
// summed in one order however many rows its tile has.
// With -v the test prints the table of docs/performance.md.
func TestPipes(t *testing.T) {
	if testing.Short() {
		t.Skip("builds for arm64")
	}
	mca, objdump := tools(t)
	bin := filepath.Join(t.TempDir(), "asm.test")
	build := exec.Command("go", "test", "-c", "-o", bin, "../../asm")
	build.Env = append(os.Environ(), "GOOS=linux", "GOARCH=arm64", "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	listing, err := exec.Command(objdump, "-d", "--no-show-raw-insn", "--no-print-imm-hex", bin).Output()
	if err != nil {
		t.Fatal(err)
	}
	kernels := loops(string(listing))
	gemms := 0
	var table strings.Builder
	table.WriteString("| kernel | instructions, multiply-adds a turn | neoverse-n1 | cortex-a72 |\n|---|---|---|---|\n")
	for _, name := range slices.Sorted(maps.Keys(kernels)) {
		if !products.MatchString(name) {
			continue
		}
		for _, body := range kernels[name] {
			row := ""
			for _, c := range cpus {
				u, err := use(mca, c.name, body)
				if err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				if u.cycles == 0 || u.macs == 0 {
					t.Fatalf("%s: %+v", name, u)
				}
				share := u.macCycles / u.cycles
				if row == "" {
					row = fmt.Sprintf("| %s | %d, %d ", name, u.instructions, u.macs)
				}
				row += fmt.Sprintf("| %.0f %% ", 100*share)
				if u.loadCycles > u.macCycles {
					row += fmt.Sprintf("(%.0f %% of the load pipes) ", 100*u.loadCycles/u.cycles)
				}
				if strings.HasPrefix(name, "gemm") && name != "gemm1" && share < least {
					t.Errorf("%s on %s: %.1f %% of the multiply-add pipes, want %.0f: %+v", name, c.name, 100*share, 100*least, u)
				}
			}
			table.WriteString(row + "|\n")
		}
		if strings.HasPrefix(name, "gemm") {
			gemms++
		}
	}
	if gemms < 6 {
		t.Errorf("%d GEMM micro-kernels found", gemms)
	}
	t.Logf("%s\n%s", mca, table.String())
}
