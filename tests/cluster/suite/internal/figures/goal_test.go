package figures

import (
	"math"
	"strings"
	"testing"
)

func TestGoalsAreJudged(t *testing.T) {
	for _, c := range []struct {
		goal Goal
		want string
	}{
		{Goal{What: "p50", Got: 5, Limit: 5}, "met"},
		{Goal{What: "p50", Got: 10, Limit: 5}, "missed, 2.00 times the goal"},
		{Goal{What: "rate", Got: 1000, Limit: 1000, AtLeast: true}, "met"},
		{Goal{What: "rate", Got: 500, Limit: 1000, AtLeast: true}, "missed, 0.50 times the goal"},
		{Goal{What: "nothing", Got: math.NaN(), Limit: 1}, "missed, NaN times the goal"},
	} {
		if got := c.goal.String(); !strings.HasSuffix(got, "\t"+c.want) {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}
