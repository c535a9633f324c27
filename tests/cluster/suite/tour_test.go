package suite

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The README promises that its tour works: so it is run as it is printed.
func TestReadmeTour(t *testing.T) {
	calm(t)
	readme, err := os.ReadFile(filepath.Join(root(), "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	script := tour(string(readme))
	if script == "" {
		t.Fatal("README.md has no ```sh block between <!-- tour --> and <!-- /tour -->")
	}
	// Left over where an earlier tour stopped half-way.
	deleteNamespace(t, "tour")
	t.Cleanup(func() { deleteNamespace(t, "tour") })
	// One shell, as a reader has one: what a block exports the next one sees.
	path := filepath.Join(env.DevDir, "bin") + string(os.PathListSeparator) + os.Getenv("PATH")
	got := run(t, script, "env", "PATH="+path, "sh", "-eux")
	if got.code != 0 {
		t.Errorf("the tour ended with %d\n%s%s", got.code, got.stdout, got.stderr)
	}
}

// tour takes the commands out of the README. `cargo xtask up` and `down` are the test's environment.
func tour(readme string) string {
	var script strings.Builder
	inside, block := false, false
	for line := range strings.Lines(readme) {
		switch trimmed := strings.TrimSpace(line); {
		case trimmed == "<!-- tour -->":
			inside = true
		case trimmed == "<!-- /tour -->":
			inside = false
		case strings.HasPrefix(trimmed, "```"):
			block = inside && trimmed == "```sh"
		case strings.HasPrefix(trimmed, "cargo xtask up"), strings.HasPrefix(trimmed, "cargo xtask down"):
		case block && trimmed != "":
			fmt.Fprintln(&script, strings.TrimRight(line, "\n"))
		}
	}
	return script.String()
}
