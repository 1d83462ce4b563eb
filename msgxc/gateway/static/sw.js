// The service worker: shows a push, reports that it came and that it was clicked, leads to the page.

self.addEventListener("install", () => self.skipWaiting());
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));

self.addEventListener("push", (event) => {
  const push = read(event.data);
  event.waitUntil(Promise.all([show(push), report(push.receipt, "delivered")]));
});

self.addEventListener("notificationclick", (event) => {
  const { url, receipt } = event.notification.data ?? {};
  event.notification.close();
  event.waitUntil(Promise.all([open(url), report(receipt, "clicked")]));
});

// A browser must show something for every push, also for one that cannot be read.
function read(data) {
  try {
    const push = data.json();
    if (push && typeof push === "object") return push;
  } catch { /* not ours */ }
  return { title: "New message" };
}

function show(push) {
  return self.registration.showNotification(String(push.title || push.body || "New message"), {
    body: push.title ? push.body : undefined,
    tag: push.tag, // a repeat takes the place of the first one
    image: safe(push.image),
    icon: "/icon.svg",
    badge: "/icon.svg",
    data: { url: push.url, receipt: push.receipt, ...push.data },
  });
}

// Only the web, and nothing that runs in our own origin.
function safe(url) {
  if (!url) return undefined;
  try {
    const found = new URL(url, self.location.origin);
    return ["https:", "http:"].includes(found.protocol) ? found.href : undefined;
  } catch { return undefined; }
}

async function open(url) {
  const wanted = safe(url) ?? new URL("/demo", self.location.origin).href;
  const pages = await self.clients.matchAll({ type: "window", includeUncontrolled: true });
  const same = pages.find((page) => page.url === wanted) ?? pages.find((page) => page.url.split("#")[0] === wanted.split("#")[0]);
  return same ? same.focus() : self.clients.openWindow(wanted);
}

async function report(receipt, event, tries = 4) {
  for (let wait = 1000; receipt && tries > 0; tries--, wait *= 3) {
    try {
      const answer = await fetch("/api/v2/receipts", {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify({ receipt, event }),
        keepalive: true,
      });
      if (answer.status < 500 && answer.status !== 429) return;
    } catch { /* no network just now */ }
    await new Promise((done) => setTimeout(done, wait));
  }
}
