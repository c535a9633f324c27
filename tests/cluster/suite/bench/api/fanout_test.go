package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

func event(kind string, at time.Duration) string {
	return fmt.Sprintf(`{"type":%q,"object":{"metadata":{"managedFields":[{"f:%s":{}}],"annotations":{%q:%q}}}}`, kind, sentKey, sentKey, sent(int64(at))) + "\n"
}

func TestEventsAreReceived(t *testing.T) {
	stream := event("MODIFIED", 5) + event("BOOKMARK", 0) + event("MODIFIED", 7)
	now := func() time.Duration { return 10 }
	times, err := receive(strings.NewReader(stream), 2, now)
	if err != nil || len(times) != 2 || times[0] != 5 || times[1] != 3 {
		t.Errorf("%v %v", times, err)
	}
	// Of somebody who leaves the annotation alone.
	stream = event("MODIFIED", 0) + event("MODIFIED", 5) + event("MODIFIED", 5) + event("MODIFIED", 0) + event("MODIFIED", 7)
	if again, err := receive(strings.NewReader(stream), 2, now); err != nil || !slices.Equal(again, times) {
		t.Errorf("%v %v, want %v", again, err, times)
	}
	for name, stream := range map[string]string{
		"too few":   event("MODIFIED", 5),
		"repeated":  event("MODIFIED", 5) + event("MODIFIED", 5),
		"an error":  event("MODIFIED", 5) + event("ERROR", 5),
		"no moment": event("MODIFIED", 5) + `{"type":"MODIFIED"}` + "\n",
	} {
		if _, err := receive(strings.NewReader(stream), 2, now); err == nil {
			t.Errorf("%s was received", name)
		}
	}
}

func TestAPatchLeavesTheSize(t *testing.T) {
	if a, b := patch(1), patch(time.Now().UnixNano()); len(a) != len(b) {
		t.Errorf("%s and %s", a, b)
	}
}
