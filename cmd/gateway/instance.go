package main

// Rules of this file.
//
// One change at a time (i.mu): a start, a reload and a stop are the same thing, a change of resources; a stop is the change to
// none. A change first makes all that is new; only then is the table swapped, the new ports accept, and what is no longer named
// is retired. So a change that fails has changed nothing.
//
// What is retired ends in the background. Replaced by other settings under its name, its connections stay as long as they like;
// removed, they have drain_timeout. A stop cuts both when its own time is over.

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"gateway/internal/admin"
	"gateway/internal/config"
	"gateway/internal/gateway"
	"gateway/internal/handover"
	"gateway/internal/metrics"
	"gateway/internal/resource"
	"gateway/internal/tracing"
)

// instance is a running gateway.
type instance struct {
	log     *slog.Logger
	level   *slog.LevelVar // of log
	metrics *metrics.Metrics
	started time.Time
	load    func() (*config.Config, error) // for a reload
	extra   []gateway.HTTPRoute            // besides those of the configuration
	logLost func() int64                   // lines of the log that could not be written
	sockets *handover.Sockets
	tell    func(state ...string) // the service manager

	failed    chan error // the first thing that broke for good
	successor chan int   // the process that has taken over

	tracing  tracing.Switch
	refusing prometheus.Gatherer // what counts those who were turned away

	server  *gateway.Server
	grpc    gateway.Switch
	meter   meter // who still speaks ZeroMQ
	metered bool  // its file was read
	callers ledger

	mu        sync.Mutex
	resources resource.Set
	begin     []func() // what the change at hand starts, once nothing can fail any more
	refused   string   // why the last reload was, if it was

	current   atomic.Pointer[generation]
	history   history
	draining  atomic.Bool
	upgrading atomic.Bool    // set under mu: it keeps changes out
	running   sync.WaitGroup // what serves a listener, and an upgrade
	retiring  sync.WaitGroup // what was retired and has not ended
	cut       atomic.Int64   // connections that did not end in time

	stopping context.Context // done when a stop begins
	stopNow  context.CancelFunc
	cutting  context.Context // done when a stop waits no longer
	cutNow   context.CancelFunc
}

// surroundings are what an instance gets from the process that it runs in. All but the log may be left out.
type surroundings struct {
	log     *slog.Logger
	level   *slog.LevelVar                 // of log
	load    func() (*config.Config, error) // gives another configuration, for a reload
	extra   []gateway.HTTPRoute            // served besides those of the configuration
	logLost func() int64                   // lines that could not be written
	sockets *handover.Sockets              // what was inherited
	tell    func(state ...string)          // tells the service manager
}

var (
	errStopping = errors.New("the gateway is stopping")
	errNoFile   = errors.New("this gateway was started without a configuration file")
)

// start makes what cfg describes and serves. On an error nothing is left running or bound.
func start(cfg *config.Config, s surroundings) (*instance, error) {
	i := &instance{
		log: s.log, level: s.level, load: s.load, extra: s.extra, logLost: s.logLost, sockets: s.sockets, tell: s.tell,
		metrics: metrics.New(), started: time.Now(), failed: make(chan error, 1), successor: make(chan int, 1),
	}
	if i.level == nil {
		i.level = &slog.LevelVar{}
	}
	if i.sockets == nil {
		i.sockets = &handover.Sockets{}
	}
	if i.logLost == nil {
		i.logLost = func() int64 { return 0 }
	}
	if i.tell == nil {
		i.tell = func(...string) {}
	}
	i.stopping, i.stopNow = context.WithCancel(context.Background())
	i.cutting, i.cutNow = context.WithCancel(context.Background())
	i.callers.meter = &i.meter
	i.server = gateway.New(gateway.Options{Log: i.log, Metrics: i.metrics, GRPC: &i.grpc, Account: i.account})
	i.metrics.WatchLog(i.logLost)
	i.refusing = refusing(i.metrics)
	i.metrics.WatchGenerations(i.generationNumber, i.history.oldest)
	i.metrics.WatchCertificates(i.certificates)
	i.metrics.WatchTargets(i.targets)
	i.metrics.WatchServices(i.servicePeers)
	i.mu.Lock()
	defer i.mu.Unlock()
	if err := i.apply(cfg); err != nil {
		i.stopNow()
		i.cutNow()
		i.retiring.Wait()
		i.server.Close()
		return nil, err
	}
	return i, nil
}

// apply makes cfg the current configuration, or changes nothing. It needs the mutex.
func (i *instance) apply(cfg *config.Config) error {
	change := i.resources.Change()
	defer change.Abort()
	i.begin = nil
	next, err := i.build(change, cfg)
	if err != nil {
		return err
	}
	next.number, next.since = i.generationNumber()+1, time.Now()
	if before := i.current.Load(); before != nil && before.config.Log.Format != cfg.Log.Format {
		i.log.Warn("the log keeps its format until the next start", "asked", cfg.Log.Format)
	}
	i.level.Set(cfg.Log.Level)
	i.setLimits(cfg.Limits)
	i.server.SetTable(next.table)
	i.current.Store(next)
	i.history.add(next)
	for _, begin := range i.begin {
		begin()
	}
	change.Commit()
	return nil
}

// reload loads the configuration again and applies it. After an error everything is as it was.
func (i *instance) reload() error {
	if err := i.lockForChange(); err != nil {
		return err
	}
	defer i.mu.Unlock()
	cfg, err := i.load()
	return i.change(cfg, err)
}

// reloadChanged does what reload does, unless the configuration says the same as when it was last loaded.
func (i *instance) reloadChanged() {
	if i.lockForChange() != nil {
		return
	}
	defer i.mu.Unlock()
	cfg, err := i.load()
	if err != nil && err.Error() == i.refused || err == nil && reflect.DeepEqual(cfg, i.current.Load().config) {
		return
	}
	i.change(cfg, err) // what goes wrong is logged there
}

// lockForChange takes the mutex, or tells why nothing may change now. A stop holds the mutex for as long as it takes: nobody
// shall wait for that.
func (i *instance) lockForChange() error {
	if err := i.fixed(); err != nil {
		return err
	}
	i.mu.Lock()
	err := i.fixed()
	if err != nil {
		i.mu.Unlock()
	}
	return err
}

// fixed tells why nothing may change now, if nothing may.
func (i *instance) fixed() error {
	switch {
	case i.draining.Load():
		return errStopping
	case i.upgrading.Load():
		return errUpgrading
	case i.load == nil:
		return errNoFile
	}
	return nil
}

// change applies what was loaded, if it was, and tells how that went. It needs the mutex.
func (i *instance) change(cfg *config.Config, err error) error {
	i.tell(statesReloading()...)
	if err == nil {
		err = i.apply(cfg)
	}
	i.refused = ""
	if err != nil {
		i.refused = err.Error()
		i.metrics.Reloads.WithLabelValues("refused").Inc()
		i.log.Error("reload refused, nothing has changed", "error", err)
		i.tell(stateReady, fmt.Sprintf("STATUS=the last reload was refused, generation %d goes on", i.generationNumber()))
		return err
	}
	i.tell(stateReady, fmt.Sprintf("STATUS=generation %d", i.generationNumber()))
	i.metrics.Reloads.WithLabelValues("applied").Inc()
	warnOfDescriptors(cfg, i.log)
	i.log.Info("reloaded", "generation", i.generationNumber())
	return nil
}

// handOverGrace is how long after a reload a connection may still reach what it was chosen for.
const handOverGrace = time.Second

// keep makes a Retire out of end, which waits for something to end until its context is done, then cuts what is left, and
// tells how many connections that were.
func (i *instance) keep(end func(context.Context) (cut int)) resource.Retire {
	return func(replaced bool) {
		i.retiring.Go(func() {
			if !i.draining.Load() { // who was chosen by the table before is still being handed over
				select {
				case <-time.After(handOverGrace):
				case <-i.cutting.Done():
				}
			}
			ctx := i.cutting
			if current := i.current.Load(); !replaced && current != nil {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, current.config.DrainTimeout)
				defer cancel()
			}
			i.cut.Add(int64(end(ctx)))
		})
	}
}

// onBegin has f called when the change at hand can no longer fail.
func (i *instance) onBegin(f func()) { i.begin = append(i.begin, f) }

// fail reports that something broke for good.
func (i *instance) fail(err error) {
	select {
	case i.failed <- err:
	default: // one reason to stop is enough
	}
}

// shutdown stops accepting, waits for all connections until ctx is done, and then cuts what is left: what was read from
// a relayed peer is still delivered. It returns how many connections were cut since the start.
func (i *instance) shutdown(ctx context.Context) (cut int) {
	i.draining.Store(true)
	i.stopNow()
	i.mu.Lock()
	defer i.mu.Unlock()
	defer context.AfterFunc(ctx, i.cutNow)()
	ports := i.current.Load().ports
	for _, p := range ports {
		p.sniffer.Close()
	}
	i.retireAll(true) // operators look at a gateway that drains
	i.server.Drain(ctx)
	for _, p := range ports {
		if p.sniffer.Wait(ctx) != nil {
			i.cut.Add(int64(i.server.Streams()))
			break
		}
	}
	i.retiring.Wait() // also for what was replaced before; cut when ctx is done
	i.cutNow()
	i.server.Close()
	last, cancel := context.WithTimeout(context.Background(), cutGrace)
	defer cancel()
	for _, p := range ports {
		if err := p.sniffer.Wait(last); err != nil {
			i.log.Error("connections did not end after they were cut", "error", err)
		}
	}
	i.retireAll(false)
	i.running.Wait()
	return int(i.cut.Load())
}

// retireAll is the change to nothing, or to the admin port and the meter alone. It needs the mutex.
func (i *instance) retireAll(keepAdmin bool) {
	change := i.resources.Change()
	if a := i.current.Load().config.Admin; a != nil && keepAdmin {
		if _, err := i.adminPort(change, *a); err != nil {
			i.log.Error("the admin port ends early", "error", err)
		}
	}
	if keepAdmin {
		if err := i.telemetry(change, i.current.Load().config.Telemetry); err != nil {
			i.log.Error("spans end early", "error", err)
		}
	}
	if path := i.current.Load().config.Meter; keepAdmin {
		if err := i.meterFile(change, path); err != nil {
			i.log.Error("the meter is saved early", "error", err)
		}
	}
	change.Commit()
}

// drainTimeout is how long a stop waits.
func (i *instance) drainTimeout() time.Duration { return i.current.Load().config.DrainTimeout }

func (i *instance) generationNumber() int {
	if g := i.current.Load(); g != nil {
		return g.number
	}
	return 0
}

func (i *instance) adminOptions() admin.Options {
	return admin.Options{
		Token: func() string {
			if a := i.current.Load().config.Admin; a != nil {
				return string(a.Token)
			}
			return ""
		},
		Pprof: func() bool {
			a := i.current.Load().config.Admin
			return a != nil && a.Pprof
		},
		Gather: i.metrics.Registry,
		Status: func() any { return i.status() },
		Ready: func() error {
			if i.draining.Load() {
				return errors.New("draining: connections end, none are taken")
			}
			return nil
		},
		Reload: i.reload,
		Upgrade: func() (string, error) {
			pid, err := i.upgrade()
			return fmt.Sprintf("process %d serves; process %d drains for at most %v", pid, os.Getpid(), i.drainTimeout()), err
		},
	}
}
