package figures

import (
	"math"
	"slices"
	"time"
)

// Quantile by nearest rank; 0 of nothing.
func Quantile(times []time.Duration, q float64) time.Duration {
	if len(times) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(times))
	rank := int(math.Ceil(q*float64(len(sorted)) - 1e-9))
	return sorted[min(max(rank, 1), len(sorted))-1]
}

// Ratio of two figures; NaN when there is nothing to compare with.
func Ratio(ours, theirs float64) float64 {
	if theirs == 0 {
		return math.NaN()
	}
	return ours / theirs
}

func Milliseconds(duration time.Duration) float64 {
	return float64(duration.Microseconds()) / 1000
}
