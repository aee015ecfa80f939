/**
 * Chat styles that follow the page's color-scheme, support forced colors and reduced motion, and avoid fixed sizes. Browsers
 * without `light-dark()` use the light colors.
 */
import { css } from 'lit';

export const chatStyles = css`
  :host {
    --_color: var(--rondevu-chat-color, #1a1c23);
    --_background: var(--rondevu-chat-background, #fff);
    --_accent: var(--rondevu-chat-accent, #3b4fd8);
    --_on-accent: #fff;
    --_soft: color-mix(in srgb, var(--_color) 8%, var(--_background));
    --_line: color-mix(in srgb, var(--_color) 18%, var(--_background));
    --_muted: color-mix(in srgb, var(--_color) 72%, var(--_background));
    --_radius: var(--rondevu-chat-radius, 12px);
    --_inner-radius: calc(var(--_radius) * 0.75);
    --_gap: var(--rondevu-chat-gap, 8px);
    --_edge: calc(var(--_gap) * 1.5);
    display: block;
    min-height: 0;
    color: var(--_color);
    font: var(--rondevu-chat-font, 16px/1.45 system-ui, sans-serif);
    text-align: start;
  }
  :host([hidden]) {
    display: none;
  }
  @supports (color: light-dark(red, red)) {
    :host {
      --_color: var(--rondevu-chat-color, light-dark(#1a1c23, #e8e9ee));
      --_background: var(--rondevu-chat-background, light-dark(#fff, #1b1d24));
      --_accent: var(--rondevu-chat-accent, light-dark(#3b4fd8, #a5b0ff));
      --_on-accent: light-dark(#fff, #14161c);
    }
  }
  /* black or white, whichever has the greater contrast with the accent: y is the relative luminance of WCAG 2 */
  @supports (color: color(from red xyz-d65 x y z)) {
    :host {
      --_white: clamp(0, (0.179 - y) * 99999, 1);
      --_on-accent: color(from var(--_accent) xyz-d65 calc(0.9505 * var(--_white)) var(--_white) calc(1.089 * var(--_white)));
    }
  }
  * {
    box-sizing: border-box;
  }
  [part='base'] {
    display: flex;
    flex-direction: column;
    position: relative;
    overflow: hidden;
    background: var(--_background);
    border: 1px solid var(--_line);
    border-radius: var(--_radius);
    /* fills a host that the page gave a height, and grows up to the limit in any other */
    height: 100%;
    min-height: 100%;
    max-height: var(--rondevu-chat-max-height, min(32rem, 90vh));
  }
  [part='log'] {
    flex: 1 1 auto;
    overflow-y: auto;
    overscroll-behavior: contain;
    padding: var(--_edge);
  }
  [part='log']:focus-visible,
  button:focus-visible,
  textarea:focus-visible {
    outline: 2px solid var(--_color);
    outline-offset: -2px;
  }
  button:focus-visible {
    outline-offset: 2px;
  }
  [part='list'] {
    display: flex;
    flex-direction: column;
    gap: var(--_gap);
    list-style: none;
    margin: 0;
    padding: 0;
    /* room for a few messages before there are any; a host with less height scrolls */
    min-height: 8rem;
  }
  [part~='message'] {
    display: flex;
    flex-direction: column;
    align-items: flex-start;
    max-width: 85%;
  }
  [part~='own'] {
    align-self: flex-end;
    align-items: flex-end;
  }
  [part='bubble'] {
    background: var(--_soft);
    border-radius: var(--_radius);
    padding: 0.45em 0.8em;
    white-space: pre-wrap;
    overflow-wrap: anywhere;
    border: 1px solid transparent;
  }
  [part~='own'] [part='bubble'] {
    background: var(--_accent);
    color: var(--_on-accent);
  }
  .meta,
  .note,
  .empty {
    color: var(--_muted);
    font-size: 0.8em;
  }
  .meta {
    padding-inline: 0.2em;
    display: flex;
    gap: 0.6em;
    flex-wrap: wrap;
  }
  [part='author'] {
    font-weight: 600;
    overflow-wrap: anywhere;
  }
  .note {
    align-self: center;
    text-align: center;
    overflow-wrap: anywhere;
  }
  .empty {
    display: grid;
    place-items: center;
    min-height: 8rem;
    font-size: 0.95em;
  }
  .empty + [part='list'] {
    min-height: 0;
  }
  [part='status'] {
    border-top: 1px solid var(--_line);
    color: var(--_muted);
    font-size: 0.85em;
    padding: 0.35em var(--_edge);
    min-height: 2.1em;
    overflow-wrap: anywhere;
  }
  [part='composer'] {
    display: flex;
    gap: var(--_gap);
    align-items: flex-end;
    padding: 0 var(--_edge) var(--_edge);
  }
  [part='input'] {
    flex: 1 1 auto;
    min-width: 0;
    resize: none;
    min-height: 2.75em;
    field-sizing: content;
    max-height: 8em;
    font: inherit;
    color: inherit;
    background: var(--_background);
    border: 1px solid var(--_muted);
    border-radius: var(--_inner-radius);
    padding: 0.5em 0.7em;
  }
  [part='input']::placeholder {
    color: var(--_muted);
    opacity: 1;
  }
  button {
    font: inherit;
    font-weight: 600;
    cursor: pointer;
    border: 1px solid transparent;
    border-radius: var(--_inner-radius);
    background: var(--_accent);
    color: var(--_on-accent);
    padding: 0.5em 1em;
    min-height: 2.75em;
  }
  button:disabled,
  textarea:disabled {
    cursor: not-allowed;
    opacity: 0.6;
  }
  .new {
    position: absolute;
    inset-inline: 0;
    bottom: calc(100% + var(--_gap));
    margin-inline: auto;
    width: fit-content;
    min-height: 2.2em;
    padding: 0.25em 0.9em;
    font-size: 0.85em;
  }
  .trust {
    margin: 0 var(--_edge) var(--_gap);
    border-color: currentColor;
    background: none;
    color: inherit;
  }
  .bottom {
    position: relative;
    flex: none;
  }
  .visually-hidden {
    position: absolute;
    width: 1px;
    height: 1px;
    overflow: hidden;
    clip-path: inset(50%);
    white-space: nowrap;
  }
  @media (forced-colors: active) {
    [part='bubble'],
    button {
      border-color: CanvasText;
    }
  }
  @media (prefers-reduced-motion: no-preference) {
    [part~='message'] {
      animation: appear 0.15s ease-out;
    }
    @keyframes appear {
      from {
        opacity: 0;
        transform: translateY(4px);
      }
    }
  }
`;
