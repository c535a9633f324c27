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
	"runtime"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"sandbox-apiserver.local/cluster/suite/internal/figures"
	"sandbox-apiserver.local/cluster/suite/internal/forward"
	"sandbox-apiserver.local/cluster/suite/internal/process"
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
	fmt.Printf("\n%d MiB, %d times each way in turns, MiB/s:\n\n", b.bytes()>>20, b.size.repetitions)
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	costs := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "\tpods, each\tmedian\tsandboxes, each\tmedian\tratio\t")
	fmt.Fprintln(costs, "\tpods\tbusy\tsandboxes\tbusy\tour server\tthe rest allows\t")
	for _, d := range directions {
		if err := b.compare(ctx, table, costs, d); err != nil {
			return fmt.Errorf("%s: %w", d.name, err)
		}
	}
	if err := table.Flush(); err != nil {
		return err
	}
	fmt.Print("\nCPU of the whole machine, s/GiB, and how busy its cores were; of it our server's. Where they were busy, the last is the\n" +
		"ratio that is left when our server costs nothing: what a sandbox's stream takes besides it, its second pass through\n" +
		"kube-apiserver, is in it.\n\n")
	return costs.Flush()
}

// cost of the passes of one way.
type cost struct {
	took            []time.Duration
	machine, server time.Duration
}

// cpu that the machine and our server have used.
func (b *bench) cpu() (machine, server time.Duration, err error) {
	if machine, err = process.MachineCPU(); err != nil {
		return 0, 0, err
	}
	server, err = b.server.CPU()
	return machine, server, err
}

// measure one pass.
func (b *bench) measure(ctx context.Context, d direction, w way, sum *cost) error {
	machine, server, err := b.cpu()
	if err != nil {
		return err
	}
	began := time.Now()
	if err := d.pass(ctx, w); err != nil {
		return fmt.Errorf("%s: %w", w.name, err)
	}
	sum.took = append(sum.took, time.Since(began))
	machineAfter, serverAfter, err := b.cpu()
	sum.machine += machineAfter - machine
	sum.server += serverAfter - server
	return err
}

// busy is the part of all cores' time that was used.
func (c cost) busy() float64 {
	var whole time.Duration
	for _, took := range c.took {
		whole += took
	}
	return c.machine.Seconds() / whole.Seconds() / float64(runtime.NumCPU())
}

func (b *bench) compare(ctx context.Context, table, costs io.Writer, d direction) error {
	var pod, front cost
	for i := range b.size.repetitions {
		turns := []func() error{
			func() error { return b.measure(ctx, d, b.pod, &pod) },
			func() error { return b.measure(ctx, d, b.front, &front) },
		}
		if i%2 == 1 {
			slices.Reverse(turns)
		}
		for _, pass := range turns {
			if err := pass(); err != nil {
				return err
			}
		}
	}
	pods, sandboxes := figures.Quantile(pod.took, 0.5), figures.Quantile(front.took, 0.5)
	ratio := figures.Ratio(pods.Seconds(), sandboxes.Seconds())
	fmt.Fprintf(table, "%s\t%s\t%.0f\t%s\t%.0f\t%.2f\t\n", d.name, b.rates(pod.took), b.rate(pods), b.rates(front.took), b.rate(sandboxes), ratio)
	perGiB := func(used time.Duration) float64 {
		return used.Seconds() / (float64(b.bytes()) * float64(b.size.repetitions) / (1 << 30))
	}
	fmt.Fprintf(costs, "%s\t%.2f\t%.0f %%\t%.2f\t%.0f %%\t%.2f\t%.2f\t\n", d.name, perGiB(pod.machine), 100*pod.busy(),
		perGiB(front.machine), 100*front.busy(), perGiB(front.server), figures.Ratio(pod.machine.Seconds(), (front.machine-front.server).Seconds()))
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
