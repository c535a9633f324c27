package figures

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

func TestQuantileIsOfTheNearestRank(t *testing.T) {
	hundred := make([]time.Duration, 100)
	for i := range hundred {
		hundred[i] = time.Duration(i + 1)
	}
	rand.Shuffle(len(hundred), func(i, j int) { hundred[i], hundred[j] = hundred[j], hundred[i] })
	for q, want := range map[float64]time.Duration{0: 1, 0.01: 1, 0.5: 50, 0.501: 51, 0.9: 90, 0.99: 99, 0.999: 100, 1: 100} {
		if got := Quantile(hundred, q); got != want {
			t.Errorf("quantile %v of 1..100 is %d, want %d", q, got, want)
		}
	}
	if got := Quantile[time.Duration](nil, 0.5); got != 0 {
		t.Errorf("the median of nothing is %v", got)
	}
	if got := Quantile([]time.Duration{7}, 0.99); got != 7 {
		t.Errorf("p99 of one is %v", got)
	}
	// The input is somebody else's: its order stays.
	order := []time.Duration{3, 1, 2}
	Quantile(order, 0.5)
	if order[0] != 3 || order[1] != 1 {
		t.Errorf("the input was sorted: %v", order)
	}
}

func TestRatio(t *testing.T) {
	if got := Ratio(1, 4); got != 0.25 {
		t.Errorf("1/4 is %v", got)
	}
	if got := Ratio(1, 0); !math.IsNaN(got) {
		t.Errorf("1/0 is %v", got)
	}
}

func TestMilliseconds(t *testing.T) {
	if got := Milliseconds(1500 * time.Microsecond); got != 1.5 {
		t.Errorf("1500 µs are %v ms", got)
	}
}

func TestFsyncIsToldOnlyWhenAllAgree(t *testing.T) {
	for want, counts := range map[string][2]int{
		"on, in all of them": {2, 0}, "off, in all of them": {0, 4}, "mixed: on in 1, off in 2": {1, 2},
	} {
		if got := mode(counts[0], counts[1]); got != want {
			t.Errorf("%v: %q, want %q", counts, got, want)
		}
	}
}
