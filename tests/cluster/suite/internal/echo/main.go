// Command echo is the workload of the proxy's tests: an HTTP server that says what it was asked, on
// the loopback interface of its sandbox alone.
package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"math/big"
	"net/http"
	"strconv"
	"time"

	"github.com/gorilla/websocket"
)

// Heard is what of a request reached the sandbox.
type Heard struct {
	Method, Target, Host string
	Header               http.Header
	Bytes                int64
	SHA256               string
}

func main() {
	http.HandleFunc("/echo/", echo)
	http.HandleFunc("/ticks", ticks)
	http.HandleFunc("/bytes", produce)
	http.HandleFunc("/orders", orders)
	http.HandleFunc("/redirect", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/echo/", http.StatusFound)
	})
	http.HandleFunc("/refuse", func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "not today", http.StatusTeapot)
	})
	http.HandleFunc("/websocket", converse)
	secure := &http.Server{Addr: "127.0.0.1:9443", TLSConfig: &tls.Config{Certificates: []tls.Certificate{selfSigned()}}}
	go func() { log.Fatal(secure.ListenAndServeTLS("", "")) }()
	log.Fatal(http.ListenAndServe("127.0.0.1:9090", nil))
}

func echo(w http.ResponseWriter, r *http.Request) {
	sum := sha256.New()
	count, err := io.Copy(sum, r.Body)
	if err != nil {
		log.Print(err)
		return
	}
	w.Header().Set("X-Echo", "kept")
	_ = json.NewEncoder(w).Encode(Heard{r.Method, r.RequestURI, r.Host, r.Header, count, hex.EncodeToString(sum.Sum(nil))})
}

// ticks says one every tenth of a second until nobody listens.
func ticks(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	for tick := 0; r.Context().Err() == nil; tick++ {
		_, _ = fmt.Fprintf(w, "data: %d\n\n", tick)
		w.(http.Flusher).Flush()
		time.Sleep(100 * time.Millisecond)
	}
}

func produce(w http.ResponseWriter, r *http.Request) {
	count, _ := strconv.Atoi(r.URL.Query().Get("count"))
	block := make([]byte, 64<<10)
	for ; count > 0; count -= len(block) {
		if _, err := w.Write(block[:min(count, len(block))]); err != nil {
			return
		}
	}
}

// orders are what a client must not be given.
func orders(w http.ResponseWriter, _ *http.Request) {
	for _, name := range []string{"Set-Cookie", "Strict-Transport-Security", "Alt-Svc", "Clear-Site-Data", "Www-Authenticate"} {
		w.Header().Set(name, "order")
	}
}

func converse(w http.ResponseWriter, r *http.Request) {
	accept := websocket.Upgrader{Subprotocols: []string{"chat"}}
	connection, err := accept.Upgrade(w, r, nil)
	if err != nil {
		return
	}
	defer connection.Close()
	for {
		kind, text, err := connection.ReadMessage()
		if err != nil || connection.WriteMessage(kind, text) != nil {
			return
		}
	}
}

func selfSigned() tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		log.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "elsewhere"},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		log.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}
