// The demo: hosts a chat under its own name, or joins the one in `?to=`. The tags do the rest.
const params = new URLSearchParams(location.search);
const to = params.get('to');
const stage = document.querySelector('#stage');

function make(tag, attributes) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

if (to) {
  const connect = make('rondevu-connect', { to });
  connect.append(document.createElement('rondevu-chat'));
  stage.append(connect);
  document.querySelector('#host-name').textContent = to.split('@')[1] ?? to;
  document.querySelector('#joining').hidden = false;
} else {
  // one name per tab, kept across reloads, so that joiners find it again
  const username = (sessionStorage.username ??= `demo-${Math.random().toString(36).slice(2, 8)}`);
  const service = make('rondevu-service', { username, service: 'chat:1.0.0', 'max-offers': '5' });
  service.append(document.createElement('rondevu-chat'));
  stage.append(service);

  const url = new URL(location.href);
  url.search = `?to=chat:1.0.0@${username}`;
  const link = document.querySelector('#join-link');
  link.href = url.href;
  link.textContent = url.href;
  document.querySelector('#hosting').hidden = false;
  const copy = document.querySelector('#copy');
  copy.addEventListener('click', async () => {
    try {
      await navigator.clipboard.writeText(url.href);
      copy.textContent = 'Copied';
    } catch {
      getSelection().selectAllChildren(link); // no permission: it can be copied by hand
    }
  });
}

const page = (tag, attributes) => `<script type="module" src="${location.origin}/rondevu-elements.js"></script>
<${tag} api-url="${location.origin}" ${attributes}>
  <rondevu-chat></rondevu-chat>
</${tag}>`;
document.querySelector('#host-code').textContent = page(
  'rondevu-service',
  'username="alice" service="chat:1.0.0" max-offers="5"',
);
document.querySelector('#join-code').textContent = page('rondevu-connect', 'to="chat:1.0.0@alice"');
