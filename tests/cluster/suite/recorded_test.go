package suite

import (
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
)

// requests that a client made of Sandboxes: how it got to know what it knows.
type requests struct {
	sync.Mutex
	lists, watchLists, watches int
	all                        []string
}

// recorded configuration: every client made of it notes its requests.
func recorded(t *testing.T) (*rest.Config, *requests) {
	t.Helper()
	noted := &requests{}
	config := rest.CopyConfig(admin)
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return &recordingTransport{next, noted} })
	return config, noted
}

func recordedDynamic(t *testing.T) (dynamic.Interface, *requests) {
	t.Helper()
	config, noted := recorded(t)
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return client, noted
}

type recordingTransport struct {
	next  http.RoundTripper
	noted *requests
}

func (r *recordingTransport) RoundTrip(request *http.Request) (*http.Response, error) {
	if request.Method == http.MethodGet && strings.HasSuffix(request.URL.Path, "/sandboxes") {
		r.noted.note(request.URL)
	}
	return r.next.RoundTrip(request)
}

func (r *requests) note(url *url.URL) {
	r.Lock()
	defer r.Unlock()
	query := url.Query()
	switch watch := query.Get("watch"); {
	case watch != "true" && watch != "1":
		r.lists++
	case query.Get("sendInitialEvents") == "true":
		r.watchLists++
	default:
		r.watches++
	}
	r.all = append(r.all, url.RequestURI())
}

func (r *requests) String() string {
	r.Lock()
	defer r.Unlock()
	return strings.Join(r.all, "\n")
}

// streamed proves that everything came by a stream of initial events.
func (r *requests) streamed(t *testing.T) {
	t.Helper()
	text := r.String()
	r.Lock()
	defer r.Unlock()
	if r.watchLists == 0 || r.lists != 0 {
		t.Errorf("not by a stream of initial events alone:\n%s", text)
	}
}

// listed proves that everything came by a list and a watch after it.
func (r *requests) listed(t *testing.T) {
	t.Helper()
	text := r.String()
	r.Lock()
	defer r.Unlock()
	if r.watchLists != 0 || r.lists == 0 || r.watches == 0 {
		t.Errorf("not by a list and then a watch:\n%s", text)
	}
}
