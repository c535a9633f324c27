package main

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"k8s.io/client-go/rest"

	"sandbox-apiserver.local/cluster/suite/internal/figures"
)

// A round trip that costs more milliseconds over the Pod's own, and the hop, is too slow.
const addedMax = 2

type times struct{ first, whole []time.Duration }

// firstByte tells when there was one.
type firstByte struct{ at time.Time }

func (f *firstByte) Write(bytes []byte) (int, error) {
	if f.at.IsZero() && len(bytes) > 0 {
		f.at = time.Now()
	}
	return len(bytes), nil
}

// latency of a command that ends at once, and of an aggregator's hop, in turns.
func (b *bench) latency(ctx context.Context) error {
	ways := []way{b.pod, b.front, b.direct}
	taken := map[string]*times{}
	for _, w := range ways {
		taken[w.name] = &times{}
	}
	var hop, get hops
	for round := range b.size.rounds + 1 {
		// Whoever is first finds colder caches: everybody is, in turn.
		for i := range ways {
			w := ways[(round+i)%len(ways)]
			// The first round pays for caches of tokens and discovery.
			if err := w.echo(ctx, taken[w.name], round > 0); err != nil {
				return fmt.Errorf("%s: %w", w.name, err)
			}
		}
		if err := hop.add(ctx, b, refused, round > 0); err != nil {
			return err
		}
		if err := get.add(ctx, b, got, round > 0); err != nil {
			return err
		}
	}
	b.reportLatency(taken, ways, hop, get)
	return nil
}

func (w way) echo(ctx context.Context, to *times, counts bool) error {
	first := &firstByte{}
	began := time.Now()
	// It costs what `true` does, and has a first byte.
	if err := w.exec(ctx, nil, first, "echo"); err != nil {
		return err
	}
	if first.at.IsZero() {
		return fmt.Errorf("no byte came")
	}
	if counts {
		to.first = append(to.first, first.at.Sub(began))
		to.whole = append(to.whole, time.Since(began))
	}
	return nil
}

// hops are times of one request through the front, and without it.
type hops struct{ front, direct []time.Duration }

func (h *hops) add(ctx context.Context, b *bench, request func(context.Context, way) error, counts bool) error {
	for _, each := range []struct {
		way way
		to  *[]time.Duration
	}{{b.front, &h.front}, {b.direct, &h.direct}} {
		began := time.Now()
		if err := request(ctx, each.way); err != nil {
			return fmt.Errorf("%s: %w", each.way.name, err)
		}
		if counts {
			*each.to = append(*each.to, time.Since(began))
		}
	}
	return nil
}

func (h *hops) p50() time.Duration {
	return figures.Quantile(h.front, 0.5) - figures.Quantile(h.direct, 0.5)
}

// refused asks for the stream of a Sandbox that is not there: the front dials our server as for one that is, and our
// server answers before it dials anybody.
func refused(ctx context.Context, w way) error {
	absent := way{w.name, w.config, strings.TrimSuffix(w.base, "box") + "absent"}
	header := http.Header{
		"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"},
		"Sec-Websocket-Key":      {base64.StdEncoding.EncodeToString(make([]byte, 16))},
		"Sec-Websocket-Protocol": {"v5.channel.k8s.io"},
	}
	return w.once(ctx, absent.url("exec", url.Values{"command": {"true"}, "stdout": {"true"}}).String(), header, http.StatusNotFound)
}

// got is a request over a new connection of the client's, which the front passes on over one that it has.
func got(ctx context.Context, w way) error {
	return w.once(ctx, w.config.Host+w.base, nil, http.StatusOK)
}

// once over a new connection, HTTP/1.1, as an exec.
func (w way) once(ctx context.Context, at string, header http.Header, want int) error {
	config, err := rest.TLSConfigFor(w.config)
	if err != nil {
		return err
	}
	config.NextProtos = []string{"http/1.1"}
	transport := &http.Transport{
		TLSClientConfig: config, DisableKeepAlives: header == nil,
		TLSNextProto: map[string]func(string, *tls.Conn) http.RoundTripper{},
	}
	defer transport.CloseIdleConnections()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, at, http.NoBody)
	if err != nil {
		return err
	}
	if header != nil {
		request.Header = header
	}
	answer, err := transport.RoundTrip(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != want {
		err = fmt.Errorf("%s: %d, not %d: %s", at, answer.StatusCode, want, body)
	}
	return err
}

func (b *bench) reportLatency(taken map[string]*times, ways []way, hop, get hops) {
	fmt.Printf("\nexec of `echo`, %d of each, in turns, each over a new connection; milliseconds:\n\n", b.size.rounds)
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "\tp50\tp90\tp99\tmax\t")
	row := func(name string, of []time.Duration) {
		fmt.Fprintf(table, "%s\t", name)
		for _, q := range []float64{0.5, 0.9, 0.99} {
			fmt.Fprintf(table, "%.2f\t", figures.Milliseconds(figures.Quantile(of, q)))
		}
		fmt.Fprintf(table, "%.2f\t\n", figures.Milliseconds(slices.Max(of)))
	}
	for _, w := range ways {
		row("first byte: "+w.name, taken[w.name].first)
	}
	for _, w := range ways {
		row("round trip: "+w.name, taken[w.name].whole)
	}
	row("an upgrade refused (404): through the front", hop.front)
	row("an upgrade refused (404): directly", hop.direct)
	row("GET of the Sandbox: through the front", get.front)
	row("GET of the Sandbox: directly", get.direct)
	// Errors of a terminal have nowhere to go.
	_ = table.Flush()
	fmt.Printf("\nThe hop, difference of the medians: %.2f ms by a refused upgrade, for which the front dials our server anew as for an exec;\n"+
		"%.2f ms by a GET, which the front passes on over a connection that it has. Of both only the first is an exec's.\n",
		figures.Milliseconds(hop.p50()), figures.Milliseconds(get.p50()))
	added := figures.Quantile(taken[b.front.name].whole, 0.5) - figures.Quantile(taken[b.pod.name].whole, 0.5) - hop.p50()
	b.goals = append(b.goals, figures.Goal{
		What: "round trip over the Pod's own and the hop: p50 ms", Got: figures.Milliseconds(added), Limit: addedMax,
	})
}
