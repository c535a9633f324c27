package process

import (
	"os"
	"testing"
	"time"
)

func TestCPUIsParsedPastOddNames(t *testing.T) {
	got, err := parseCPU("42 (a) b (c) S 7 42 42 0 -1 4194560 100 0 0 0 150 25 0 0 20 0 5 0 9876 1 2")
	if err != nil || got != 1750*time.Millisecond {
		t.Errorf("%v %v, want 175 ticks", got, err)
	}
	for _, broken := range []string{"", "42 (a", "42 (a) S 1", "42 (a) S 7 42 42 0 -1 4194560 100 0 0 0 x 25 0"} {
		if _, err := parseCPU(broken); err == nil {
			t.Errorf("%q was parsed", broken)
		}
	}
}

func TestMachineCPUIsParsed(t *testing.T) {
	got, err := parseMachineCPU("cpu  100 20 30 4000 500 6 7 8 0 0\ncpu0 1 2 3 4 5 6 7 8 0 0\n")
	if err != nil || got != 1630*time.Millisecond {
		t.Errorf("%v %v, want 163 ticks", got, err)
	}
	for _, broken := range []string{"", "cpu 1 2 3", "intr 1 2 3 4 5 6 7 8", "cpu 1 2 x 4 5 6 7 8"} {
		if _, err := parseMachineCPU(broken); err == nil {
			t.Errorf("%q was parsed", broken)
		}
	}
}

func TestMemoryIsParsed(t *testing.T) {
	status := "Name:\tx\nVmHWM:\t   2048 kB\nVmRSS:\t     12 kB\n"
	for name, want := range map[string]int64{"VmHWM": 2048, "VmRSS": 12} {
		if got, err := parseKiB(status, name); err != nil || got != want {
			t.Errorf("%s: %d %v, want %d", name, got, err, want)
		}
	}
	if _, err := parseKiB(status, "VmSwap"); err == nil {
		t.Error("VmSwap was found")
	}
}

func TestThisProcessIsMeasured(t *testing.T) {
	self := Process{PID: os.Getpid()}
	before, err := self.CPU()
	if err != nil {
		t.Fatal(err)
	}
	for started := time.Now(); ; {
		now, err := self.CPU()
		if err != nil {
			t.Fatal(err)
		}
		if now > before {
			break
		}
		if time.Since(started) > time.Minute {
			t.Fatal("a busy minute cost no CPU")
		}
	}
	peak, resident, err := self.Memory()
	if err != nil || resident <= 0 || peak < resident {
		t.Errorf("peak %d, resident %d, %v", peak, resident, err)
	}
}
