// The service worker: shows a push, reports that it came and that it was clicked, leads to the page.

self.addEventListener("install", () => self.skipWaiting());
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));

self.addEventListener("push", (event) => {
  const push = read(event.data);
  event.waitUntil(Promise.all([show(push), count(push.appBadge), report(push.receipt, "delivered")]));
});

self.addEventListener("notificationclick", (event) => {
  const { url: usual, urls, receipt } = event.notification.data ?? {};
  const url = urls?.[event.action] ?? usual;
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
    icon: safe(push.icon) ?? "/icon.svg",
    badge: safe(push.badge) ?? "/icon.svg",
    actions: push.actions?.map(({ action, title, icon }) => ({ action, title, icon: safe(icon) })),
    requireInteraction: push.requireInteraction,
    renotify: push.renotify,
    silent: push.silent,
    vibrate: push.vibrate,
    data: {
      ...push.data,
      url: push.url ?? push.data?.url,
      urls: Object.fromEntries((push.actions ?? []).filter((one) => one.url).map((one) => [one.action, one.url])),
      receipt: push.receipt, // ours last
    },
  });
}

// The number on the app's icon, where the system has one.
async function count(number) {
  if (number === undefined) return;
  try {
    await self.navigator.setAppBadge?.(number);
  } catch { /* not here */ }
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
