package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"sandbox-apiserver.local/cluster/suite/internal/figures"
	"sandbox-apiserver.local/cluster/suite/internal/forward"
)

const (
	ratioMin = 0.9
	// Busybox' own sum takes longer than the way: it looks at one pass of this much, which nobody times.
	checkedBlocks = 2
)

type direction struct {
	name string
	pass func(context.Context, way) error
}

func (b *bench) throughput(ctx context.Context) error {
	directions := []direction{
		{"exec stdout", b.stdout}, {"exec stdin", b.stdin},
		{"port-forward download", b.download}, {"port-forward upload", b.upload},
	}
	for _, w := range []way{b.pod, b.front} {
		if err := b.checkStdin(ctx, w); err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
	}
	fmt.Printf("\n%d MiB, %d times each way in turns, MiB/s; CPU of our server per GiB:\n\n", b.bytes()>>20, b.size.repetitions)
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "\tpods, each\tmedian\tsandboxes, each\tmedian\tratio\tserver CPU s/GiB\t")
	for _, d := range directions {
		if err := b.compare(ctx, table, d); err != nil {
			return fmt.Errorf("%s: %w", d.name, err)
		}
	}
	return table.Flush()
}

func (b *bench) compare(ctx context.Context, table io.Writer, d direction) error {
	var pod, front []time.Duration
	var used time.Duration
	for i := range b.size.repetitions {
		turns := []way{b.pod, b.front}
		if i%2 == 1 {
			turns = []way{b.front, b.pod}
		}
		for _, w := range turns {
			before, err := b.server.CPU()
			if err != nil {
				return err
			}
			began := time.Now()
			if err := d.pass(ctx, w); err != nil {
				return fmt.Errorf("%s: %w", w.name, err)
			}
			took := time.Since(began)
			after, err := b.server.CPU()
			if err != nil {
				return err
			}
			if w.name == b.front.name {
				front, used = append(front, took), used+after-before
			} else {
				pod = append(pod, took)
			}
		}
	}
	ratio := figures.Ratio(figures.Quantile(pod, 0.5).Seconds(), figures.Quantile(front, 0.5).Seconds())
	perGiB := used.Seconds() / (float64(b.bytes()) * float64(b.size.repetitions) / (1 << 30))
	fmt.Fprintf(table, "%s\t%s\t%.0f\t%s\t%.0f\t%.2f\t%.2f\t\n", d.name, b.rates(pod), b.rate(figures.Quantile(pod, 0.5)),
		b.rates(front), b.rate(figures.Quantile(front, 0.5)), ratio, perGiB)
	b.goals = append(b.goals, figures.Goal{
		What: "throughput of " + d.name + " over the Pod's own", Got: ratio, Limit: ratioMin, AtLeast: true,
	})
	return nil
}

func (b *bench) rate(took time.Duration) float64 { return float64(b.bytes()>>20) / took.Seconds() }

func (b *bench) rates(times []time.Duration) string {
	var each []string
	for _, took := range times {
		each = append(each, fmt.Sprintf("%.0f", b.rate(took)))
	}
	return strings.Join(each, " ")
}

// summed counts and hashes.
type summed struct {
	hash.Hash
	bytes int64
}

func (s *summed) Write(bytes []byte) (int, error) {
	s.bytes += int64(len(bytes))
	return s.Hash.Write(bytes)
}

// check that it is what the source gives.
func (b *bench) check(got *summed) error {
	want := sha256.New()
	if _, err := io.Copy(want, b.source()); err != nil {
		return err
	}
	if got.bytes != b.bytes() || !bytes.Equal(got.Sum(nil), want.Sum(nil)) {
		return fmt.Errorf("%d of %d bytes came, or others", got.bytes, b.bytes())
	}
	return nil
}

func (b *bench) stdout(ctx context.Context, w way) error {
	got := &summed{Hash: sha256.New()}
	if err := w.exec(ctx, nil, got, "sh", "-c", b.sending()); err != nil {
		return err
	}
	return b.check(got)
}

func (b *bench) stdin(ctx context.Context, w way) error {
	var said bytes.Buffer
	if err := w.exec(ctx, b.source(), &said, "wc", "-c"); err != nil {
		return err
	}
	return b.counted(said.String())
}

func (b *bench) counted(said string) error {
	count, err := strconv.ParseInt(strings.TrimSpace(said), 10, 64)
	if err == nil && count != b.bytes() {
		err = fmt.Errorf("%d of %d bytes arrived", count, b.bytes())
	}
	return err
}

func (b *bench) checkStdin(ctx context.Context, w way) error {
	small := *b
	small.size.blocks = checkedBlocks
	want := sha256.New()
	if _, err := io.Copy(want, small.source()); err != nil {
		return err
	}
	var said bytes.Buffer
	if err := w.exec(ctx, small.source(), &said, "sha256sum"); err != nil {
		return err
	}
	if !strings.HasPrefix(said.String(), hex.EncodeToString(want.Sum(nil))) {
		return fmt.Errorf("stdin arrived as something else: %s", said.String())
	}
	return nil
}

func (b *bench) download(ctx context.Context, w way) error {
	return w.forwarded(ctx, sendPort, func(connection net.Conn) error {
		got := &summed{Hash: sha256.New()}
		if _, err := io.Copy(got, connection); err != nil {
			return err
		}
		return b.check(got)
	})
}

func (b *bench) upload(ctx context.Context, w way) error {
	return w.forwarded(ctx, takePort, func(connection net.Conn) error {
		if _, err := io.Copy(connection, b.source()); err != nil {
			return err
		}
		said, err := io.ReadAll(connection)
		if err != nil {
			return err
		}
		return b.counted(string(said))
	})
}

// forwarded gives one connection to a port of the Pod.
func (w way) forwarded(ctx context.Context, port int, use func(net.Conn) error) error {
	ports, stop, err := forward.Open(ctx, w.config, w.url("portforward", nil), "SPDY", fmt.Sprintf("0:%d", port))
	if err != nil {
		return err
	}
	defer stop()
	connection, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", ports[0].Local))
	if err != nil {
		return err
	}
	defer connection.Close()
	if err := connection.SetDeadline(time.Now().Add(stepLimit)); err != nil {
		return err
	}
	return use(connection)
}
