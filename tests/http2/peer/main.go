// An HTTP/2 and HTTP/1.1 server of Go's net/http for tests: echoes, and misbehaves as the path says.
//
//	peer CERT KEY     listens on a free port of 127.0.0.1, prints it, ends when standard input does
package main

import (
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

func answer(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	w.Header().Set("X-Own", r.Header.Get("Apns-Id"))
	word, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	number, _ := strconv.Atoi(rest)
	switch word {
	case "status":
		w.WriteHeader(number)
	case "slow":
		time.Sleep(time.Duration(number) * time.Millisecond)
		w.Write(body)
	case "interim":
		w.WriteHeader(http.StatusEarlyHints)
		w.Write(body)
	case "trailers":
		w.Header().Set("Trailer", "X-Last")
		w.Write(body)
		w.Header().Set("X-Last", "yes")
	case "reset":
		panic(http.ErrAbortHandler)
	case "half":
		w.Write([]byte("half"))
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	case "bye":
		w.Header().Set("Connection", "close")
		w.Write(body)
	case "large":
		w.Write(make([]byte, number))
	default:
		w.Write(body)
	}
}

func main() {
	certificate, err := tls.LoadX509KeyPair(os.Args[1], os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	server := &http.Server{
		Handler:   http.HandlerFunc(answer),
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate}, NextProtos: []string{"h2", "http/1.1"}},
		ErrorLog:  log.New(io.Discard, "", 0),
		HTTP2:     &http.HTTP2Config{MaxConcurrentStreams: 50},
	}
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	go func() {
		io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	log.Fatal(server.ServeTLS(listener, "", ""))
}
