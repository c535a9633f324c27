package suite

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"sandbox-apiserver.local/cluster/suite/internal/cluster"
)

const (
	asJSON       = "application/json"
	asYAML       = "application/yaml"
	mergePatch   = "application/merge-patch+json"
	jsonPatch    = "application/json-patch+json"
	strategic    = "application/strategic-merge-patch+json"
	groupVersion = "/apis/" + cluster.GroupVersion
)

// response of a request that no typed client would send.
type response struct {
	code     int
	body     string
	warnings []string
	header   http.Header
}

// message and reason of a Status.
func (r response) status() (message, reason string) {
	var status struct{ Message, Reason string }
	if json.Unmarshal([]byte(r.body), &status) != nil {
		return r.body, ""
	}
	return status.Message, status.Reason
}

func (r response) object(t *testing.T) map[string]any {
	t.Helper()
	var object map[string]any
	if err := json.Unmarshal([]byte(r.body), &object); err != nil {
		t.Fatalf("not JSON: %v in %s", err, r.body)
	}
	return object
}

// send a request as the user of the config.
func send(t *testing.T, config *rest.Config, method, path, contentType, body string) response {
	t.Helper()
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	got, err := exchange(client, config.Host, method, path, contentType, strings.NewReader(body), nil)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	return got
}

func exchange(client *http.Client, host, method, path, contentType string, body io.Reader, header http.Header) (response, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, host+path, body)
	if err != nil {
		return response{}, err
	}
	for name, values := range header {
		request.Header[name] = values
	}
	request.Header.Set("Accept", asJSON)
	if contentType != "" {
		request.Header.Set("Content-Type", contentType)
	}
	answer, err := client.Do(request)
	if err != nil {
		return response{}, err
	}
	defer answer.Body.Close()
	var text bytes.Buffer
	if _, err := text.ReadFrom(answer.Body); err != nil {
		return response{}, err
	}
	return response{answer.StatusCode, text.String(), answer.Header.Values("Warning"), answer.Header}, nil
}

// act posts a typed action.
func act(t *testing.T, config *rest.Config, namespace, name, action, query string) response {
	t.Helper()
	path := sandboxPath(namespace, name) + "/" + action
	if query != "" {
		path += "?" + query
	}
	return send(t, config, http.MethodPost, path, asJSON, "")
}

func mustAct(t *testing.T, namespace, name, action, query string) response {
	t.Helper()
	got := act(t, admin, namespace, name, action, query)
	if got.code != http.StatusOK {
		t.Fatalf("%s of %s: %d %s", action, name, got.code, got.body)
	}
	return got
}

func sandboxesPath(namespace string) string {
	return groupVersion + "/namespaces/" + namespace + "/sandboxes"
}

func sandboxPath(namespace, name string) string { return sandboxesPath(namespace) + "/" + name }

// mustFail compares the whole of what a client is told.
func mustFail(t *testing.T, got response, code int, reason, message string) {
	t.Helper()
	gotMessage, gotReason := got.status()
	if got.code != code || gotReason != reason || gotMessage != message {
		t.Errorf("got  %d %s %s\nwant %d %s %s", got.code, gotReason, gotMessage, code, reason, message)
	}
}

// post is for goroutines: it tells instead of failing the test.
func post(ctx context.Context, client *http.Client, url, body string) (int, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		return 0, err
	}
	request.Header.Set("Content-Type", asJSON)
	answer, err := client.Do(request)
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	// The code alone is no acknowledgement: the body must have come whole.
	if _, err := io.Copy(io.Discard, answer.Body); err != nil {
		return 0, err
	}
	return answer.StatusCode, nil
}
