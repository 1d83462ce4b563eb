// The Go libraries that a sender in Go would use, alone: apns2 (inside gorush), go-fcm (inside gorush), webpush-go.
//
//	peers CHANNEL SANDBOX_DIR MESSAGES IN_FLIGHT SECONDS
//
// MESSAGES has one JSON document a line: token, title, body, url. Each is made into a notification of its own and
// sent when a goroutine is free; nothing is recorded. Prints what was measured, as JSON.
package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"firebase.google.com/go/v4/messaging"
	webpush "github.com/SherClockHolmes/webpush-go"
	fcm "github.com/appleboy/go-fcm"
	"github.com/sideshow/apns2"
	"github.com/sideshow/apns2/payload"
	"github.com/sideshow/apns2/token"
)

type message struct{ Token, Title, Body, Url string }

type sandbox struct {
	CA   string
	Apns struct {
		Host    string
		Port    int
		KeyFile string `json:"key_file"`
		KeyId   string `json:"key_id"`
		TeamId  string `json:"team_id"`
		Topic   string
	}
	Fcm struct {
		Url  string
		File string `json:"service_account_file"`
	}
	Webpush struct {
		Url     string
		Key     string `json:"vapid_private_key_file"`
		Contact string `json:"vapid_contact"`
		Keys    string `json:"subscriber_key_file"`
	}
}

func must[T any](value T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return value
}

// one sends a message, or several where the library wants them together.
type one func(some []message)

func apns(at sandbox) one {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(must(os.ReadFile(at.CA)))
	apns2.DialTLS = func(network, addr string, config *tls.Config) (net.Conn, error) {
		config = config.Clone()
		config.RootCAs = roots
		return tls.Dial(network, addr, config)
	}
	key := must(token.AuthKeyFromFile(at.Apns.KeyFile))
	client := apns2.NewTokenClient(&token.Token{AuthKey: key, KeyID: at.Apns.KeyId, TeamID: at.Apns.TeamId})
	client.Host = "https://" + net.JoinHostPort(at.Apns.Host, strconv.Itoa(at.Apns.Port))
	return func(some []message) {
		m := some[0]
		said := must(client.Push(&apns2.Notification{
			DeviceToken: m.Token,
			Topic:       at.Apns.Topic,
			Expiration:  time.Now().Add(4 * time.Hour),
			Priority:    apns2.PriorityHigh,
			PushType:    apns2.PushTypeAlert,
			Payload: payload.NewPayload().AlertTitle(m.Title).AlertBody(m.Body).Sound("default").
				Custom("url", m.Url),
		}))
		if !said.Sent() {
			log.Fatal(said)
		}
	}
}

func goFcm(at sandbox) one {
	client := must(fcm.NewClient(context.Background(),
		fcm.WithCredentialsFile(at.Fcm.File), fcm.WithEndpoint(at.Fcm.Url+"/v1")))
	ttl := 4 * time.Hour
	return func(some []message) {
		batch := make([]*messaging.Message, len(some))
		for n, m := range some {
			batch[n] = &messaging.Message{
				Token:        m.Token,
				Notification: &messaging.Notification{Title: m.Title, Body: m.Body},
				Data:         map[string]string{"url": m.Url},
				Android:      &messaging.AndroidConfig{Priority: "normal", TTL: &ttl},
			}
		}
		said := must(client.Send(context.Background(), batch...))
		if said.FailureCount > 0 {
			log.Fatal(said.Responses[0].Error)
		}
	}
}

func push(at sandbox, keys webpush.Keys, private, public string) one {
	client := &http.Client{}
	return func(some []message) {
		m := some[0]
		text := must(json.Marshal(map[string]string{"title": m.Title, "body": m.Body, "url": m.Url}))
		to := &webpush.Subscription{Endpoint: m.Token, Keys: keys}
		said := must(webpush.SendNotification(text, to, &webpush.Options{
			HTTPClient: client, Subscriber: at.Webpush.Contact, TTL: 14400,
			VAPIDPrivateKey: private, VAPIDPublicKey: public,
		}))
		io.Copy(io.Discard, said.Body)
		said.Body.Close()
		if said.StatusCode != http.StatusCreated {
			log.Fatal(said.Status)
		}
	}
}

func webPush(at sandbox) one {
	var keys webpush.Keys
	if err := json.Unmarshal(must(os.ReadFile(at.Webpush.Keys)), &keys); err != nil {
		log.Fatal(err)
	}
	private, public, err := webpush.GenerateVAPIDKeys()
	if err != nil {
		log.Fatal(err)
	}
	return push(at, keys, private, public)
}

func read(path string) (found []message) {
	file := must(os.Open(path))
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		var next message
		if err := json.Unmarshal(lines.Bytes(), &next); err != nil {
			log.Fatal(err)
		}
		found = append(found, next)
	}
	return found
}

// send keeps `workers` goroutines at work until the time is over; each takes `size` messages at once.
func send(send one, all []message, workers, size int, until time.Time) int64 {
	var taken atomic.Int64
	var group sync.WaitGroup
	for range workers {
		group.Go(func() {
			for time.Now().Before(until) {
				at := int(taken.Add(int64(size))-int64(size)) % (len(all) - size + 1)
				send(all[at : at+size])
			}
		})
	}
	group.Wait()
	return taken.Load()
}

func usage() (seconds, peak float64) {
	var used syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &used)
	spent := time.Duration(used.Utime.Nano() + used.Stime.Nano())
	return spent.Seconds(), float64(used.Maxrss) / 1000
}

func main() {
	var at sandbox
	if err := json.Unmarshal(must(os.ReadFile(filepath.Join(os.Args[2], "sandbox.json"))), &at); err != nil {
		log.Fatal(err)
	}
	all, workers, size := read(os.Args[3]), must(strconv.Atoi(os.Args[4])), 1
	seconds := must(strconv.ParseFloat(os.Args[5], 64))
	how := map[string]func(sandbox) one{"apns": apns, "fcm": goFcm, "webpush": webPush}[os.Args[1]](at)
	if os.Args[1] == "fcm" { // go-fcm wants batches (SendEach, at most 500); 100 is where it is fastest
		size, workers = 100, max(1, workers/100)
	}
	how(all[:1])
	send(how, all, workers, size, time.Now().Add(300*time.Millisecond))
	before, _ := usage()
	began := time.Now()
	sent := send(how, all, workers, size, began.Add(time.Duration(seconds*float64(time.Second))))
	wall := time.Since(began).Seconds()
	after, peak := usage()
	fmt.Printf(`{"sent":%d,"wall":%g,"cpu":%g,"peak_mb":%g,"taken":0}`+"\n", sent, wall, after-before, peak)
}
