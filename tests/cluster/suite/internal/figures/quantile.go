package figures

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// Quantile by nearest rank; 0 of nothing.
func Quantile[T cmp.Ordered](values []T, q float64) T {
	if len(values) == 0 {
		var nothing T
		return nothing
	}
	sorted := slices.Sorted(slices.Values(values))
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
