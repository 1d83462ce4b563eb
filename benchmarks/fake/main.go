// A fake provider for measurements: takes everything, and costs as little as it can.
//
//	fake CERT KEY KIND LATENCY_MS     KIND: apns, fcm, webpush, sms or email
//
// TLS on a free port of 127.0.0.1, which it prints. For each line on standard input it prints how many messages
// it has taken; it ends when standard input does. HTTP/2 is read frame by frame and answered after the latency.
// APNs allows one stream until it knows the token, then 1,000, as Apple does. The others allow 1,000 at once:
// Google's front end says 100, but Go's client then opens a connection for every request above that, and a
// figure of it would be about its handshakes. Whoever does not offer h2 gets the same answers over HTTP/1.1.
// Nothing is checked.
package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2/hpack"
)

const (
	data, headers, settings, ping, windowUpdate = 0, 1, 4, 6, 8
	endStream, ack, endHeaders, priority        = 1, 1, 4, 0x20
	tableSize, maxStreams, initialWindow        = 1, 3, 4
	maxHeaderList                               = 6

	wide    = 1 << 30 // bytes: the connection's window
	fcmBody = `{"name":"projects/p/messages/0:1732300000000000%31bd1c9631bd1c96"}`
	token   = `{"access_token":"ya29.` + "0123456789012345678901234567890123456789012345678901234567890123456789" +
		`","expires_in":3599,"token_type":"Bearer"}`
)

var taken atomic.Int64

func frame(kind, flags byte, stream uint32, payload []byte) []byte {
	out := make([]byte, 9, 9+len(payload))
	out[1], out[2] = byte(len(payload)>>8), byte(len(payload))
	out[3], out[4] = kind, flags
	binary.BigEndian.PutUint32(out[5:], stream)
	return append(out, payload...)
}

func word(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }

func set(pairs ...uint32) []byte {
	var payload []byte
	for at := 0; at < len(pairs); at += 2 {
		payload = binary.BigEndian.AppendUint16(payload, uint16(pairs[at]))
		payload = binary.BigEndian.AppendUint32(payload, pairs[at+1])
	}
	return frame(settings, 0, 0, payload)
}

// first are the settings that a provider of this kind begins with.
func first(kind string) []byte {
	if kind == "apns" {
		return set(maxStreams, 1, maxHeaderList, 8000)
	}
	return set(maxStreams, 1000, initialWindow, 1<<20, maxHeaderList, 65536)
}

type request struct {
	stream uint32
	id     string // its apns-id
	token  bool   // it asks for an access token
	due    time.Time
}

// connection is one of HTTP/2; a second goroutine writes.
type connection struct {
	kind    string
	latency time.Duration
	queue   chan request
	control chan []byte
	table   chan uint32
	block   bytes.Buffer
	encoder *hpack.Encoder
}

// read takes frames until the connection ends. HEADERS come in one frame, without padding.
func (c *connection) read(conn net.Conn) {
	defer conn.Close()
	in := bufio.NewReaderSize(conn, 1<<18)
	if _, err := io.CopyN(io.Discard, in, 24); err != nil {
		return
	}
	conn.Write(append(first(c.kind), frame(windowUpdate, 0, 0, word(wide))...))
	defer close(c.queue)
	go c.write(conn)
	var next request
	decoder := hpack.NewDecoder(4096, func(field hpack.HeaderField) {
		switch field.Name {
		case "apns-id":
			next.id = field.Value
		case ":path":
			next.token = field.Value == "/token"
		}
	})
	open, used := map[uint32]request{}, 0
	header, payload := make([]byte, 9), make([]byte, 1<<14)
	for {
		if _, err := io.ReadFull(in, header); err != nil {
			return
		}
		size := int(header[0])<<16 | int(header[1])<<8 | int(header[2])
		kind, flags, stream := header[3], header[4], binary.BigEndian.Uint32(header[5:])
		if size > len(payload) {
			return
		}
		if _, err := io.ReadFull(in, payload[:size]); err != nil {
			return
		}
		switch kind {
		case data:
			if used += size; used > wide/2 {
				c.control <- frame(windowUpdate, 0, 0, word(uint32(used)))
				used = 0
			}
			if flags&endStream != 0 {
				c.take(open[stream])
				delete(open, stream)
			}
		case headers:
			block := payload[:size]
			if flags&priority != 0 {
				block = block[5:]
			}
			next = request{stream: stream}
			if _, err := decoder.Write(block); err != nil || flags&endHeaders == 0 {
				return
			}
			decoder.Close()
			if flags&endStream != 0 {
				c.take(next)
			} else {
				open[stream] = next
			}
		case settings:
			if flags&ack == 0 {
				for at := 0; at+6 <= size; at += 6 {
					if payload[at+1] == tableSize {
						c.table <- binary.BigEndian.Uint32(payload[at+2:])
					}
				}
				c.control <- frame(settings, ack, 0, nil)
			}
		case ping:
			if flags&ack == 0 {
				c.control <- frame(ping, ack, 0, bytes.Clone(payload[:size]))
			}
		}
	}
}

func (c *connection) take(whole request) {
	whole.due = time.Now().Add(c.latency)
	c.queue <- whole
}

func (c *connection) write(conn net.Conn) {
	out := bufio.NewWriterSize(conn, 1<<16)
	c.encoder = hpack.NewEncoder(&c.block)
	trusted := c.kind != "apns"
	for {
		select {
		case size := <-c.table:
			c.encoder.SetMaxDynamicTableSizeLimit(size)
		case bytes := <-c.control:
			out.Write(bytes)
		case next, open := <-c.queue:
			if !open {
				return
			}
			for len(c.table) > 0 {
				c.encoder.SetMaxDynamicTableSizeLimit(<-c.table)
			}
			if wait := time.Until(next.due); wait > 0 {
				out.Flush()
				time.Sleep(wait)
			}
			if !trusted {
				trusted = true
				out.Write(set(maxStreams, 1000))
			}
			c.answer(out, next)
		}
		if len(c.queue) == 0 && len(c.control) == 0 {
			if runtime.Gosched(); len(c.queue) == 0 { // let more come: one write for many answers
				out.Flush()
			}
		}
	}
}

func (c *connection) answer(out *bufio.Writer, next request) {
	status, body := "200", ""
	switch {
	case next.token:
		body = token
	case c.kind == "fcm":
		body = fcmBody
	case c.kind == "webpush":
		status = "201"
	}
	if !next.token {
		taken.Add(1)
	}
	c.block.Reset()
	c.encoder.WriteField(hpack.HeaderField{Name: ":status", Value: status})
	if next.id != "" {
		c.encoder.WriteField(hpack.HeaderField{Name: "apns-id", Value: next.id})
	}
	if body == "" {
		out.Write(frame(headers, endHeaders|endStream, next.stream, c.block.Bytes()))
		return
	}
	c.encoder.WriteField(hpack.HeaderField{Name: "content-type", Value: "application/json; charset=UTF-8"})
	out.Write(frame(headers, endHeaders, next.stream, c.block.Bytes()))
	out.Write(frame(data, endStream, next.stream, []byte(body)))
}

// old answers over HTTP/1.1.
func old(kind string, latency time.Duration) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		asked, _ := io.ReadAll(r.Body)
		if r.URL.Path == "/token" {
			w.Header().Set("Content-Type", "application/json")
			io.WriteString(w, token)
			return
		}
		time.Sleep(latency)
		messages := 1
		switch kind {
		case "fcm":
			w.Header().Set("Content-Type", "application/json")
			io.WriteString(w, fcmBody)
		case "webpush":
			w.WriteHeader(http.StatusCreated)
		case "sms":
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusCreated)
			fmt.Fprintf(w, `{"sid":"SM%032x","status":"queued","error_code":null}`, taken.Load())
		case "email":
			messages = bytes.Count(asked, []byte(`"to":`))
			w.Header().Set("X-Message-Id", strconv.FormatInt(taken.Load(), 10))
			w.WriteHeader(http.StatusAccepted)
		}
		taken.Add(int64(messages))
	}
}

// shared hands connections that speak HTTP/1.1 to net/http.
type shared struct {
	net.Listener
	conns chan net.Conn
}

func (s shared) Accept() (net.Conn, error) { return <-s.conns, nil }

// answerQuestions says how many messages were taken, as often as it is asked.
func answerQuestions() {
	for asked := bufio.NewScanner(os.Stdin); asked.Scan(); {
		fmt.Println(taken.Load())
	}
	os.Exit(0)
}

func main() {
	if len(os.Args) != 5 || !strings.Contains("apns fcm webpush sms email", os.Args[3]) {
		log.Fatal("usage: fake CERT KEY apns|fcm|webpush|sms|email LATENCY_MS")
	}
	certificate, err := tls.LoadX509KeyPair(os.Args[1], os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	kind := os.Args[3]
	milliseconds, err := strconv.Atoi(os.Args[4])
	if err != nil {
		log.Fatal(err)
	}
	latency := time.Duration(milliseconds) * time.Millisecond
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	go answerQuestions()
	rest := shared{listener, make(chan net.Conn)}
	go http.Serve(rest, old(kind, latency))
	config := &tls.Config{Certificates: []tls.Certificate{certificate}, NextProtos: []string{"h2", "http/1.1"}}
	if kind == "sms" || kind == "email" {
		config.NextProtos = []string{"http/1.1"}
	}
	for {
		conn, err := listener.Accept()
		if err != nil {
			log.Fatal(err)
		}
		go serve(conn, config, kind, latency, rest.conns)
	}
}

func serve(conn net.Conn, config *tls.Config, kind string, latency time.Duration, rest chan<- net.Conn) {
	secure := tls.Server(conn, config)
	if secure.Handshake() != nil {
		conn.Close()
		return
	}
	if secure.ConnectionState().NegotiatedProtocol != "h2" {
		rest <- secure
		return
	}
	c := &connection{kind: kind, latency: latency, queue: make(chan request, 1<<16)}
	c.control, c.table = make(chan []byte, 1024), make(chan uint32, 16)
	c.read(secure)
}
