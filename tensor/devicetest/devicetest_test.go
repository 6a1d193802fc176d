package devicetest_test

import (
	"os"
	"os/exec"
	"testing"

	"github.com/tenon-ml/tenon/asm"
	"github.com/tenon-ml/tenon/tensor"
	"github.com/tenon-ml/tenon/tensor/devicetest"
)

func TestFar(t *testing.T) {
	far := devicetest.NewFar()
	devicetest.Run(t, far)
	if n := far.Live(); n != 0 {
		t.Errorf("%d buffers were never freed", n)
	}
}

func TestCPU(t *testing.T) {
	t.Logf("tier %s", asm.Tier())
	cpu := tensor.NewCPU(3)
	defer cpu.Close()
	devicetest.Run(t, cpu)
	if _, inUse, _ := cpu.MemoryStats(); inUse != 0 {
		t.Errorf("%d bytes were never freed", inUse)
	}
}

// TestPlainGo runs TestCPU again without assembly, in a process of its own since
// the tier is chosen when a process starts.
func TestPlainGo(t *testing.T) {
	if asm.Tier() == "generic" {
		t.Skip("TestCPU ran plain Go already: this build, this machine or TENON_TIER has no other tier")
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, "-test.run=^TestCPU$", "-test.v="+map[bool]string{true: "true", false: "false"}[testing.Verbose()])
	cmd.Env = append(os.Environ(), "TENON_TIER=generic")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("TENON_TIER=generic: %v\n%s", err, out)
	}
}
