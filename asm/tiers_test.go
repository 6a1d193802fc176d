package asm

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// kernelTiers is the table of kernels and tiers. Every kernel has plain Go;
// avx2, avx512 and neon name the assembly that the tier runs, "-" and a reason
// where it runs none of its own; in avx512, "" is that of avx2: see Tier.
var kernelTiers = []struct{ kernel, avx2, avx512, neon string }{
	{"Add", "addVec", "", "addVec"},
	{"Sub", "subVec", "", "subVec"},
	{"Mul", "mulVec", "", "mulVec"},
	{"Div", "divVec", "", "divVec"},
	{"Scale", "scaleVec", "", "scaleVec"},
	{"AddScaled", "addScaledVec", "", "addScaledVec"},
	{"MulAddScaled", "mulAddScaledVec", "", "mulAddScaledVec"},
	{"Sum", "sumVec", "", "sumVec"},
	{"Dot", "dotVec", "", "dotVec"},
	{"SumSquares", "dotVec", "", "dotVec"},
	{"Max", "maxVec", "", "maxVec"},
	{"Exp", "expVec", "", "expVec"},
	{"ExpSubSum", "expSubSumVec", "", "expSubSumVec"},
	{"AttentionGrad", "attentionGradVec", "", "attentionGradVec"},
	{"SiLU", "siluVec", "", "siluVec"},
	{"SwiGLU", "swigluVec", "", "swigluVec"},
	{"SwiGLUGrad", "swigluGradVec", "", "swigluGradVec"},
	{"RMSNormRow", "dotVec mulScaledVec", "", "dotVec mulScaledVec"},
	{"RMSNormGradRow", "dot3Vec rmsnormGradVec rmsnormGradAddVec", "", "dot3Vec rmsnormGradVec rmsnormGradAddVec"},
	{"RoPERow", "ropeVec", "", "ropeVec"},
	{"DecodeBF16", "decodeBF16Vec", "", "decodeBF16Vec"},
	{"DecodeF16", "decodeF16Vec", "", "decodeF16Vec"},
	{"EncodeBF16", "encodeBF16Vec", "", "encodeBF16Vec"},
	{"EncodeF16", "encodeF16Vec", "", "encodeF16Vec"},
	{"DecodeQ8_0", "decodeQ8_0Vec", "", "decodeQ8_0Vec"},
	{"DecodeQ4_0", "decodeQ4_0Vec", "", "decodeQ4_0Vec"},
	{"DecodeQ4_1", "decodeQ4_1Vec", "", "decodeQ4_1Vec"},
	{"DecodeQ4_K", "nibblesVec", "", "nibblesVec"},
	{"DecodeQ6_K", "sixBitsVec", "", "sixBitsVec"},
	{"DecodeNF4", "decodeNF4Vec", "decodeNF4AVX512", "decodeNF4Vec"},
	{"StreamNF4", "decodeNF4Vec decodeNF4Stream", "decodeNF4StreamAVX512", "decodeNF4Vec"},
	{"DecodeBytes", "- one code's loads take a cycle in Go too", "byteMapVBMI", "- one code's loads take a cycle in Go too"},
	{"PackNF4", "- decoded rows are packed", "packNF4x1 packNF4x2", "- decoded rows are packed"},
	{"PackNF4T", "- decoded rows are packed", "packNF4T", "- decoded rows are packed"},
	{"StreamFill", "fillVec", "", "fillVec"},
	{"StreamFence", "storeFence", "", "- stores are in order"},
	{"RowDotsBF16", "dotsBF16 fold", "dotsBF16_512", "dotsBF16 fold"},
	{"RowDotsF16", "dotsF16 fold", "dotsF16_512", "dotsF16 fold"},
	{"RowDotsQ8_0", "dotsQ8_0 fold", "dotsQ8_0_512", "dotsQ8_0 fold"},
	{"RowDotsQ4_0", "dotsQ4_0 fold", "dotsQ4_0_512", "dotsQ4_0 fold"},
	{"RowDotsQ4_1", "dotsQ4_1 fold", "dotsQ4_1_512", "dotsQ4_1 fold"},
	{"RowDotsIQ4_NL", "dotsIQ4_NL fold", "dotsIQ4_NL_512", "dotsF32 fold"},
	{"RowDotsQ4_K", "dotsQ4_K fold", "dotsQ4_K_512", "dotsF32 fold"},
	{"RowDotsQ6_K", "dotsQ6_K fold", "dotsQ6_K_512", "dotsF32 fold"},
	{"RowDotsNF4", "dotsNF4 foldPairs", "dotsNF4_512 foldPairs512", "- rows are decoded"},
	{"RowDotsQ8_0Int16", "dots16Q8_0", "dots16Q8_0_512", "- F32 is as fast"},
	{"RowDotsQ4_0Int16", "dots16Q4_0", "dots16Q4_0_512", "- F32 is as fast"},
	{"RowDotsQ4_1Int16", "dots16Q4_1", "dots16Q4_1_512", "- F32 is as fast"},
	{"RowDotsIQ4_NLInt16", "dots16IQ4_NL", "dots16IQ4_NL_512", "- F32 is as fast"},
	{"RowDotsNF4Int16", "dots16NF4", "dots16NF4_512", "- F32 is as fast"},
	{"SplitNF4", "- once a product", "", "- rows are decoded"},
	{"DecodeIQ4_NL", "- nobody asked yet", "", "- nobody asked yet"},
	{"AdamW", "adamwVec", "", "adamwVec"},
	{"RowDots", "dotsF32 fold dots4x1 dots1x1", "dotsF32_512", "dotsF32 fold dots4x1 dots1x1"},
	{"RowDotsMulti", "dotsF32 fold dots4x1 dots4x2 dots4x3 dots1x1 dots1x2 dots1x3", "dotsF32_512", "dotsF32 fold dots4x1 dots4x2 dots4x3 dots1x1 dots1x2 dots1x3"},
	{"Pack", "packT8 packRows4 packRows1", "", "packT8 packRows4 packRows1"},
	{"GemmTilesBF16", "- GemmTiles on rounded values", "gemmBF16", "- GemmTiles on rounded values"},
	{"PackBF16", "- Pack and RoundBF16", "pairT512 pairCopy512 pairPanels4 pairPanels2", "- Pack and RoundBF16"},
	{"PackRowsBF16", "- PackRows and RoundBF16", "pairT512 pairCopy512", "- PackRows and RoundBF16"},
	{"GemmBF16", "- GemmTilesBF16", "gemmBF16", "- GemmTilesBF16"},
	{"RoundBF16", "encodeBF16Vec decodeBF16Vec", "", "encodeBF16Vec decodeBF16Vec"},
	{"Repack", "packT8", "", "packT8"},
	{"PackHalf", "- decoded rows are packed", "packBF16Rows4 packBF16Rows1 packF16Rows4 packF16Rows1", "- decoded rows are packed"},
	{"PackRows", "packT8 packT4 packCopy4", "packCopy512", "packT8 packT4 packCopy4"},
	{"Gemm", "gemm1 gemm2 gemm3 gemm4 gemm5 gemm6", "gemm512", "gemm1 gemm2 gemm3 gemm4 gemm5 gemm6"},
	{"GemmPanels", "gemm1 gemm2 gemm3 gemm4 gemm5 gemm6", "gemm512", "gemm1 gemm2 gemm3 gemm4 gemm5 gemm6"},
	{"GemmTiles", "gemm1 gemm2 gemm3 gemm4 gemm5 gemm6", "gemm512", "gemm1 gemm2 gemm3 gemm4 gemm5 gemm6"},
	{"GemmRows", "gemm1 gemm2 gemm3 gemm4 gemm5 gemm6", "gemm512", "gemm1 gemm2 gemm3 gemm4 gemm5 gemm6"},
	{"ReadStreams", "readVec", "", "readVec"},
	{"Prefetch", "prefetchVec", "", "prefetchVec"},
	{"FMALoop", "fmaLoop", "fmaLoop512", "fmaLoop"},
}

// notKernels are the exported functions that compute sizes and names.
var notKernels = []string{"HasRowDotsNF4", "HasPackNF4", "HasPackHalf", "Tier", "Tiers", "Depth", "TileRows", "WideTiles", "HasBF16", "WordsBF16", "DepthBF16", "GemmScratch", "PanelsLen", "NewCodebook", "NewByteMap", "HasRowDotsNF4Int16", "HasInt16"}

func TestKernelTable(t *testing.T) {
	rows := map[string]bool{}
	used := map[string]map[string]bool{"amd64": {}, "arm64": {}}
	for _, row := range kernelTiers {
		rows[row.kernel] = true
		for _, name := range strings.Fields(row.avx512) {
			used["amd64"][name] = true
		}
		for arch, cell := range map[string]string{"amd64": row.avx2, "arm64": row.neon} {
			switch {
			case strings.HasPrefix(cell, "- "):
			case cell == "" || cell == "-":
				t.Errorf("%s has no assembly on %s and no reason", row.kernel, arch)
			default:
				for _, name := range strings.Fields(cell) {
					used[arch][name] = true
				}
			}
		}
	}
	exported := slices.Clone(notKernels)
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".go") || strings.HasSuffix(e.Name(), "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), e.Name(), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.IsExported() {
				if name := fn.Name.Name; !rows[name] && !slices.Contains(notKernels, name) {
					t.Errorf("%s has no row", name)
				} else {
					exported = append(exported, name)
				}
			}
		}
	}
	for name := range rows {
		if !slices.Contains(exported, name) {
			t.Errorf("the row %s has no function", name)
		}
	}
	text := regexp.MustCompile(`(?m)^TEXT ·(\w+)\(SB\)`)
	for arch, names := range used {
		defined := map[string]bool{}
		for _, m := range text.FindAllStringSubmatch(assembly(t, arch), -1) {
			defined[m[1]] = true
		}
		for _, name := range slices.Sorted(maps.Keys(names)) {
			if !defined[name] {
				t.Errorf("%s is in no *_%s.s", name, arch)
			}
		}
		for _, name := range slices.Sorted(maps.Keys(defined)) {
			if !names[name] {
				t.Errorf("%s in *_%s.s is in no row", name, arch)
			}
		}
	}
}

// assembly returns all assembly for an architecture.
func assembly(t *testing.T, arch string) string {
	files, err := filepath.Glob("*_" + arch + ".s")
	if err != nil || files == nil {
		t.Fatal("no assembly for ", arch, err)
	}
	var all strings.Builder
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(b)
	}
	return all.String()
}

// Every instruction that is written as numbers is the one that its comment says, in
// the spelling of LLVM's disassembler.
func TestEncodedInstructions(t *testing.T) {
	mc, err := exec.LookPath("llvm-mc")
	if err != nil {
		t.Skip("llvm-mc is not installed: apt-get install llvm")
	}
	t.Run("arm64", func(t *testing.T) {
		source := assembly(t, "arm64")
		var want []string
		var input strings.Builder
		word := regexp.MustCompile(`(?m)^\s*WORD \$0x([0-9a-f]{2})([0-9a-f]{2})([0-9a-f]{2})([0-9a-f]{2}) // (.*)$`)
		for _, m := range word.FindAllStringSubmatch(source, -1) {
			fmt.Fprintf(&input, "0x%s 0x%s 0x%s 0x%s\n", m[4], m[3], m[2], m[1])
			want = append(want, m[5])
		}
		if n := strings.Count(source, "WORD"); len(want) != n || n == 0 {
			t.Fatalf("%d of %d WORDs have a mnemonic beside them", len(want), n)
		}
		disassemble(t, input.String(), want, mc, "-triple=aarch64", "-mattr=+fullfp16,+dotprod")
	})
	t.Run("amd64", func(t *testing.T) {
		source := assembly(t, "amd64")
		var want []string
		var input strings.Builder
		line := regexp.MustCompile(`(?m)^\s*(BYTE \$0x[0-9a-f]{2}(?:; BYTE \$0x[0-9a-f]{2})*) // (.*)$`)
		for _, m := range line.FindAllStringSubmatch(source, -1) {
			input.WriteString(strings.NewReplacer("BYTE $", "", ";", "").Replace(m[1]) + "\n")
			want = append(want, m[2])
		}
		if n := strings.Count(source, "\tBYTE"); len(want) != n || n == 0 {
			t.Fatalf("%d of %d lines of BYTEs have a mnemonic beside them", len(want), n)
		}
		disassemble(t, input.String(), want, mc, "-triple=x86_64", "-mattr=+avx512bf16,+avx512vnni,+avx512bw,+avx512vl")
	})
}

// disassemble checks that llvm-mc prints what is wanted of the encoded input.
func disassemble(t *testing.T, input string, want []string, mc string, args ...string) {
	cmd := exec.Command(mc, append([]string{"-disassemble"}, args...)...)
	cmd.Stdin = strings.NewReader(input)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var got []string
	for line := range strings.Lines(string(out)) {
		if line = strings.Join(strings.Fields(line), " "); line != "" && !strings.HasPrefix(line, ".") {
			got = append(got, line)
		}
	}
	if len(got) != len(want) {
		t.Fatalf("llvm-mc prints %d instructions for %d words:\n%s", len(got), len(want), out)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("word %d is %q, its comment says %q", i, got[i], want[i])
		}
	}
}

// The committed assembly is what the generator writes.
func TestGenerated(t *testing.T) {
	gotool, err := exec.LookPath("go")
	if err != nil {
		t.Skip("the go command is not installed")
	}
	dir := t.TempDir()
	cmd := exec.Command(gotool, "run", "./_gen", dir)
	cmd.Env = append(os.Environ(), "GOARCH=", "GOFLAGS=") // for this machine, also where the test runs emulated
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go run ./_gen: %v: %s", err, out)
	}
	for _, name := range []string{"vec_amd64.s", "vec_arm64.s", "gemm_amd64.s", "gemm_arm64.s", "rows_amd64.s", "rows_arm64.s", "rowdots_amd64.s", "rowdots_arm64.s", "nf4_amd64.s", "nf4_arm64.s", "bytemap_amd64.s", "vec.go", "vec_none.go"} {
		want, err := os.ReadFile(dir + "/" + name)
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s is not what asm/_gen writes: run go generate in asm", name)
		}
	}
}
