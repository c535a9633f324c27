package cmd

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/term"
)

// patience is how long something may take without a word.
const patience = time.Second

// progress tells on stderr what is waited for: rewritten in place on a terminal, and a line per change elsewhere.
type progress struct {
	to         io.Writer
	what       string
	isTerminal bool
	began      time.Time

	lock  sync.Mutex
	last  string
	shown bool
	over  bool
}

func (p *plugin) begin(what string) *progress {
	return &progress{to: p.ErrOut, what: what, isTerminal: isTerminal(p.ErrOut), began: time.Now()}
}

func (g *progress) say(text string) {
	g.lock.Lock()
	defer g.lock.Unlock()
	if g.over || time.Since(g.began) < patience {
		return
	}
	if g.isTerminal {
		fmt.Fprintf(g.to, "\r\x1b[K%s: %s (%.0fs)", g.what, text, time.Since(g.began).Seconds())
		g.shown = true
	} else if text != g.last {
		fmt.Fprintf(g.to, "%s: %s\n", g.what, text)
	}
	g.last = text
}

// told is what was last said.
func (g *progress) told() string {
	g.lock.Lock()
	defer g.lock.Unlock()
	if g.last == "" {
		return "nothing is known of it"
	}
	return g.last
}

// end leaves the terminal as it was.
func (g *progress) end() {
	g.lock.Lock()
	defer g.lock.Unlock()
	if g.shown {
		fmt.Fprint(g.to, "\r\x1b[K")
	}
	g.over = true
}

func isTerminal(stream any) bool {
	file, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

// painted is the text in a colour of ANSI, on a terminal that wants it.
func painted(to io.Writer, colour int, text string) string {
	if !isTerminal(to) || os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" {
		return text
	}
	return fmt.Sprintf("\x1b[%dm%s\x1b[0m", colour, text)
}

// size in powers of 1024.
func size(bytes float64) string {
	for _, unit := range []string{"B", "KiB", "MiB"} {
		if bytes < 1024 {
			return fmt.Sprintf("%.0f %s", bytes, unit)
		}
		bytes /= 1024
	}
	return fmt.Sprintf("%.1f GiB", bytes)
}
