/**
 * The page is as high as what is seen of it: on iOS a keyboard on the screen covers what is below, and the keys that it
 * lacks would be there. Other browsers make the page smaller by themselves (`interactive-widget`), and a desktop's has no
 * such keyboard. Whoever has zoomed in sees less of the page, too, and it stays as it is then.
 */
export function followKeyboard() {
  const seen = window.visualViewport;
  const { style } = document.body;
  const follow = () => {
    if (!seen || Math.abs(seen.scale - 1) > 0.01) return;
    const covered = document.documentElement.clientHeight - seen.height > 1;
    style.height = covered ? `${seen.height}px` : '';
    style.translate = covered ? `0 ${seen.offsetTop}px` : ''; // iOS moves the page up, to where something is typed
  };
  seen?.addEventListener('resize', follow);
  seen?.addEventListener('scroll', follow);
}
